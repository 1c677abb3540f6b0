#include "os/writable_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "os/os_error.h"

namespace inferd::os {

Status check_writable_folder(const std::filesystem::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return os_fail(errno, "folder " + path.string());
  if (!S_ISDIR(info.st_mode)) return fail(Code::kUsage, path.string() + " is not a folder");
  if (::faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) != 0) return os_fail(errno, "write to folder " + path.string());
  return {};
}

}  // namespace inferd::os
