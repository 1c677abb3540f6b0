#include "os/instance_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

#include "os/os_error.h"
#include "os/paths.h"

namespace inferd::os {

Result<InstanceLock> InstanceLock::acquire(const std::filesystem::path& path) {
  if (auto made = make_private_directories(path.parent_path()); !made) return std::unexpected(made.error());
  const std::string what = "lock file " + path.string();
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!fd) {
    if (errno == ELOOP) return fail(Code::kNotPermitted, what + " is a symbolic link: refused");
    if (errno == EISDIR) return fail(Code::kUsage, what + " is not a regular file");
    return os_fail(errno, what);
  }
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return os_fail(errno, what);
  if (!S_ISREG(info.st_mode)) return fail(Code::kUsage, what + " is not a regular file");
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return fail(Code::kInUse, what + " is held by another process: is an inferd-daemon running already?");
    return os_fail(errno, what);
  }
  return InstanceLock(std::move(fd));
}

}  // namespace inferd::os
