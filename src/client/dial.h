// Finds and dials a daemon's socket. Any thread.
#pragma once

#include <optional>
#include <string>

#include "inferd/client.h"
#include "os/unique_fd.h"

namespace inferd::client {

/// The socket at `path`; without one, `leaf` in each of the daemon's default folders, best first. kUnreachable, kNotPermitted.
Expected<os::UniqueFd> dial_unix(const std::optional<std::string>& path, const std::string& leaf);

/// A surface whose socket is `leaf` in the daemon's folders; on TCP the key is shown. Also kLost.
Expected<os::UniqueFd> dial(const Endpoint& endpoint, const std::string& leaf);

}  // namespace inferd::client
