// Files that are read: opened by path where they must be regular ones, and as a C stream for libraries that want one. Any thread.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

/// Opens a regular file. Errors name the path; a folder, a pipe or a device is kUsage and is not waited for.
Result<UniqueFd> open_regular_file(const std::filesystem::path& path);

using InputStream = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

/// A stream over a copy of `fd`, at the beginning of the file, for one thread. The position is shared with every copy of the descriptor:
/// one stream at a time.
Result<InputStream> input_stream(int fd);

}  // namespace inferd::os
