#include "os/own_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "os/os_error.h"

namespace inferd::os {

Result<UniqueFd> open_own_file(const std::filesystem::path& path, int flags, const std::string& what) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600));
  if (!fd && errno == ELOOP) return fail(Code::kNotPermitted, what + " is a symbolic link: refused");
  if (!fd && errno == EISDIR) return fail(Code::kUsage, what + " is not a regular file");
  if (!fd) return os_fail(errno, what);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return os_fail(errno, what);
  if (!S_ISREG(info.st_mode)) return fail(Code::kUsage, what + " is not a regular file");
  return fd;
}

}  // namespace inferd::os
