#include "os/file_lock.h"

#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "os/file_reader.h"
#include "os/os_error.h"
#include "os/own_file.h"

namespace inferd::os {
namespace {

Result<bool> try_lock(int fd, int kind) {
  while (::flock(fd, kind | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) return os_fail(errno, "lock a file");
  }
  return true;
}

}  // namespace

Result<std::optional<FileLock>> FileLock::try_exclusive(const std::filesystem::path& path) {
  const std::string what = "lock file " + path.string();
  auto fd = open_own_file(path, 0, what);
  if (!fd) return std::unexpected(fd.error());
  auto locked = try_lock(fd->get(), LOCK_EX);
  if (!locked) return fail(locked.error().code, what + ": " + locked.error().message);
  if (!*locked) return std::nullopt;
  return std::optional<FileLock>(FileLock(std::move(*fd)));
}

void FileLock::show(std::string_view note) {
  // Written first and cut afterwards: who reads in between finds an old end behind the new note, never an empty file.
  const std::string_view text = note.substr(0, kMaxNoteBytes);
  if (::pwrite(fd_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size())) {
    [[maybe_unused]] const int cut = ::ftruncate(fd_.get(), static_cast<off_t>(text.size()));
  }
}

std::string FileLock::note(const std::filesystem::path& path) { return read_file(path, kMaxNoteBytes).value_or(std::string()); }

Result<bool> try_lock_shared(int fd) { return try_lock(fd, LOCK_SH); }
Result<bool> try_lock_exclusive(int fd) { return try_lock(fd, LOCK_EX); }

}  // namespace inferd::os
