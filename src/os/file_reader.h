// Reading files that others may change meanwhile: at an offset, whole but bounded, and what tells one state of a file from another.
// Any thread. Errors name the path where there is one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/error.h"

namespace inferd::os {

/// The bytes at `offset`: as many as `into` holds, fewer only at the end of the file.
Result<size_t> read_at(int fd, std::span<char> into, uint64_t offset);

/// The whole of a regular file. kNotFound if it is missing, kIntegrity if it is longer than `max_bytes`.
Result<std::string> read_file(const std::filesystem::path& path, size_t max_bytes);

/// Which file it is, and in which state. Whoever changes a file's bytes changes its ctime, and nobody can set that back without setting
/// the clock.
struct FileIdentity {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t modified_ns = 0, changed_ns = 0;  // mtime, ctime since 1970
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};
/// Whether bytes were changed in between: a new name or a lost one changes the ctime, too.
bool has_same_bytes(const FileIdentity& before, const FileIdentity& after);
Result<FileIdentity> identity_of(int fd);
Result<FileIdentity> identity_of(const std::filesystem::path& path);  // of what a link points to

/// Now, by the clock that file times are taken from.
int64_t file_time_now_ns();

/// Tells the kernel that the file will be read from front to back.
void expect_sequential_reads(int fd);

}  // namespace inferd::os
