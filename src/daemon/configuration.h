// The effective configuration with what its names and files stand for: all that may block (a pipe, a user database on a network, key files).
// Made on the pool, at the start and on SIGHUP; the I/O thread only uses it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "config/access_ids.h"
#include "config/effective.h"
#include "os/secret_memory.h"

namespace inferd {

struct Configuration {
  Effective effective;
  std::optional<os::SecretText> tcp_key;  // of every surface on TCP; nothing: none is asked for
  std::map<std::string, AccessIds, std::less<>> access;  // by surface; one that is not here: whoever can open the socket
};

/// The surfaces that the service manager passes, and whether on TCP: they are known before the configuration says where a surface is.
using PassedSurfaces = std::map<std::string, bool, std::less<>>;

Result<Configuration> load_configuration(const DaemonOptions& options, const PassedSurfaces& passed);

/// The same for SIGHUP. `tcp_key` is what listen.api_key_file holds now, else nothing: other keys stay. Errors besides: a file that was there at
/// the start and is gone, or is a pipe, whose next writer may never come.
Result<Configuration> load_configuration_again(const DaemonOptions& options, const Effective& running);

}  // namespace inferd
