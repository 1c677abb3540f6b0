// Turns errno into an Error that names what was being done. Any thread.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.h"

namespace inferd::os {

/// "<what>: <errno's text>", with the code that fits (ENOENT: kNotFound, EACCES: kNotPermitted, EADDRINUSE: kInUse, else kIo).
Error os_error(int errno_value, const std::string& what);

/// "0640": the rights of a file as chmod takes them.
std::string mode_text(mode_t mode);

inline std::unexpected<Error> os_fail(int errno_value, const std::string& what) {
  return std::unexpected<Error>(os_error(errno_value, what));
}

}  // namespace inferd::os
