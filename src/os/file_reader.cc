#include "os/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "os/input_file.h"
#include "os/os_error.h"

namespace inferd::os {
namespace {

namespace fs = std::filesystem;

int64_t nanoseconds(const timespec& time) { return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec; }

FileIdentity identity_in(const struct stat& info) {
  return {.device = info.st_dev,
          .inode = info.st_ino,
          .size = static_cast<uint64_t>(info.st_size),
          .modified_ns = nanoseconds(info.st_mtim),
          .changed_ns = nanoseconds(info.st_ctim)};
}

}  // namespace

Result<size_t> read_at(int fd, std::span<char> into, uint64_t offset) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_fail(errno, "read");
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<std::string> read_file(const fs::path& path, size_t max_bytes) {
  auto fd = open_regular_file(path);
  if (!fd) return std::unexpected(fd.error());
  std::string text(max_bytes + 1, '\0');
  auto length = read_at(fd->get(), text, 0);
  if (!length) return fail(length.error().code, path.string() + ": " + length.error().message);
  if (*length > max_bytes) return fail(Code::kIntegrity, path.string() + " is longer than " + std::to_string(max_bytes) + " bytes");
  text.resize(*length);
  return text;
}

Result<FileIdentity> identity_of(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return os_fail(errno, "state of an open file");
  return identity_in(info);
}

Result<FileIdentity> identity_of(const fs::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return os_fail(errno, path.string());
  return identity_in(info);
}

bool has_same_bytes(const FileIdentity& before, const FileIdentity& after) {
  return before.size == after.size && before.modified_ns == after.modified_ns;
}

int64_t file_time_now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return nanoseconds(now);
}

void expect_sequential_reads(int fd) { ::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); }

}  // namespace inferd::os
