// The effective configuration with what its names and files stand for: all that may block (a pipe, a user database on a network, key files).
// Made on the pool, at the start and on SIGHUP; the I/O thread only uses it.
#pragma once

#include <optional>

#include "config/access_ids.h"
#include "config/effective.h"
#include "os/secret_memory.h"

namespace inferd {

struct Configuration {
  Effective effective;
  std::optional<os::SecretText> tcp_key;  // of v1; nothing: none is asked for
  std::optional<AccessIds> v1_access;     // nothing: whoever can open the socket
};

/// What the daemon needs to know of v1 before the configuration says where it is.
enum class PassedV1 { kNone, kUnix, kTcp };

Result<Configuration> load_configuration(const DaemonOptions& options, PassedV1 passed);

/// The same for SIGHUP. `tcp_key` is what listen.api_key_file holds now, else nothing: other keys stay. Errors besides: a file that was there at
/// the start and is gone, or is a pipe, whose next writer may never come.
Result<Configuration> load_configuration_again(const DaemonOptions& options, const Effective& running);

}  // namespace inferd
