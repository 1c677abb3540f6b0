// Blocking reads and writes on a socket, with a deadline. Used by clients; any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace inferd::os {

Status write_all(int fd, std::string_view bytes);

/// Appends what is there, waiting for it until `deadline`. 0 at the end of the stream; kInUse when the deadline passed.
Result<size_t> read_some(int fd, std::string& into, std::optional<std::chrono::steady_clock::time_point> deadline);

/// Ends both directions: a blocked read returns. Any thread, async-signal-safe.
void shut_down(int fd) noexcept;

}  // namespace inferd::os
