// How much a peer may have under way to us. Any thread.
#pragma once

#include <cstdint>

namespace inferd::os {

/// Bounds the TCP receive window of a connected socket to what `bytes_per_second` need over the measured round trip. What is under way
/// when a process is killed is fetched again by the next one: over a short path the kernel would let many MiB pile up that speed does not
/// need. Where the system cannot do it, the window stays as it is.
void fit_receive_window(int socket, uint64_t bytes_per_second);

}  // namespace inferd::os
