// Binds and connects Unix stream sockets by the rules of spec README 18 and 19: a live socket is never taken over, a file that
// is no socket is never removed, a symlink is refused, a stale socket is replaced; mode and group are set before listen().
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

struct UnixListenOptions {
  mode_t mode = 0660;
  std::optional<gid_t> group;
};

/// A listening, non-blocking socket; folders above it are made.
Result<UniqueFd> listen_unix(const std::filesystem::path& path, const UnixListenOptions& options);

/// A connected, blocking socket.
Result<UniqueFd> connect_unix(const std::filesystem::path& path);

/// Removes the socket file at `path` if it is still this one (somebody may have replaced it).
void unlink_if_ours(const std::filesystem::path& path, dev_t device, ino_t inode);

/// Group id by name; an unknown group is an error that names it.
Result<gid_t> group_id(const std::string& name);

}  // namespace inferd::os
