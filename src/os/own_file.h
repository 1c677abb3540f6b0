// Files that we write, in folders where others may put something else under their name. Any thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

/// Opens a regular file to read and write it, made (0600) if it is missing; `flags` are further ones of open(). A symbolic link is refused
/// (kNotPermitted); a folder, a pipe or a device is kUsage and is not waited for. `what` begins the errors: "lock file PATH".
Result<UniqueFd> open_own_file(const std::filesystem::path& path, int flags, const std::string& what);

}  // namespace inferd::os
