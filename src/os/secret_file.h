// Files that hold a key: read only if nobody but their owner can read them. Called at the start and on SIGHUP; any thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "base/error.h"

namespace inferd::os {

inline constexpr size_t kMaxSecretBytes = 64u << 10;

/// The key in a file, without the line end after it. Errors name the path and never the content: the file has to be a regular one that
/// belongs to us or to root, with no right for group and others (0600 or less), of one line of 1 to kMaxSecretBytes bytes without control
/// characters. A file in $CREDENTIALS_DIRECTORY may also have the group's read bit that systemd's access list for the service shows as.
Result<std::string> read_secret_file(const std::filesystem::path& path);

}  // namespace inferd::os
