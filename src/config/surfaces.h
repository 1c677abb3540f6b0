// The three inference surfaces as the configuration has them, in the order in which they are bound. Called at the start; pure.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "config/effective.h"

namespace inferd {

struct SurfaceSettings {
  std::string_view name;                        // v2, embed, v1; of a socket that the service manager passes, too
  bool on = false;                              // v1 always is
  std::optional<std::string> tcp;               // where
  std::optional<std::filesystem::path> socket;  // else here, or
  std::string_view socket_name;                 // under this name in the runtime directory
  std::string_view tcp_option, tcp_field;       // what may have set `tcp`
  std::string_view access_field;
  std::optional<AccessRule> access;             // nothing: whoever can open the socket
};

std::array<SurfaceSettings, 3> surfaces(const Effective& effective);

/// What set the address, for errors: "--v2-tcp", or "FILE: listen.tcp_v2".
std::string place_of_tcp(const Effective& effective, const SurfaceSettings& surface);

}  // namespace inferd
