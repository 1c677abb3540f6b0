// Files that are read: opened by path where they must be regular ones, and as a C stream for libraries that want one. Any thread.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

/// Opens a regular file. Errors name the path; a folder, a pipe or a device is kUsage and is not waited for.
Result<UniqueFd> open_regular_file(const std::filesystem::path& path);

/// The bytes of a file, a pipe or a device from the beginning to the end, read once, as a stream. Blocks until the writer of a pipe is
/// done. Errors name the path; more than `max_bytes` is kUsage, a folder kIo.
Result<std::string> read_stream(const std::filesystem::path& path, size_t max_bytes);

using InputStream = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

/// A stream over a copy of `fd`, at the beginning of the file, for one thread. The position is shared with every copy of the descriptor:
/// one stream at a time.
Result<InputStream> input_stream(int fd);

}  // namespace inferd::os
