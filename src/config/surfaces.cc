#include "config/surfaces.h"

namespace inferd {

std::array<SurfaceSettings, 3> surfaces(const Effective& effective) {
  const DaemonOptions& options = effective.options;
  const AccessSettings& access = effective.config.access;
  return {{
      {"v2", options.v2, options.v2_tcp, options.v2_addr, "infer.v2.sock", "--v2-tcp", "listen.tcp_v2", "access.v2", access.v2},
      {"embed", options.embed, options.embed_tcp, options.embed_addr, "infer.embed.sock", "--embed-tcp", "listen.tcp_embed", "access.embed",
       access.embed},
      {"v1", true, options.tcp, options.uds, "infer.sock", "--tcp", "listen.tcp", "access.v1", access.v1},
  }};
}

std::string place_of_tcp(const Effective& effective, const SurfaceSettings& surface) {
  const bool from_option = effective.options.given.contains(surface.tcp_option);
  return from_option ? std::string(surface.tcp_option) : effective.place_of(surface.tcp_field);
}

}  // namespace inferd
