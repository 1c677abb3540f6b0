#include "os/os_error.h"

#include <cerrno>
#include <cstdio>
#include <system_error>

namespace inferd::os {

Error os_error(int errno_value, const std::string& what) {
  Code code = Code::kIo;
  std::string hint;
  switch (errno_value) {
    case ENOENT:
      code = Code::kNotFound;
      break;
    case EACCES:
    case EPERM:
      code = Code::kNotPermitted;
      break;
    case EADDRINUSE:
      code = Code::kInUse;
      break;
    case ENOSPC:
      hint = " (free some space on that file system)";
      break;
    case EMFILE:
      hint = " (raise the limit of open files: ulimit -n)";
      break;
    default:
      break;
  }
  return Error{code, what + ": " + std::generic_category().message(errno_value) + hint};
}

std::string mode_text(mode_t mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

}  // namespace inferd::os
