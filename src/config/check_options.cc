#include "config/check_options.h"

#include <string>
#include <string_view>

#include "config/access_ids.h"
#include "config/config_table.h"
#include "config/keys.h"
#include "config/surfaces.h"
#include "os/tcp.h"
#include "os/unix_socket.h"

namespace inferd {
namespace {

bool is_of_later_build(std::string_view kind) { return kind == "openai-compat" || kind == "bedrock-invoke"; }

Status check_kinds(const Effective& effective) {
  const std::string file = effective.config.path.empty() ? "" : effective.config.path.string() + ": ";
  for (size_t i = 0; i < effective.config.backends.size(); ++i) {
    const std::string kind(kind_of(effective.config.backends[i]));
    if (!is_of_later_build(kind)) continue;
    return fail(Code::kNotInThisBuild, file + path_of_element("backends", i) + ".kind: \"" + kind + "\": not in this build");
  }
  return {};
}

Status check_tcp(const Effective& effective) {
  for (const SurfaceSettings& surface : surfaces(effective)) {
    if (!surface.on || !surface.tcp) continue;
    const std::string place = place_of_tcp(effective, surface);
    if (auto address = os::check_address(*surface.tcp, place); !address) return address;
    if (has_tcp_key(effective) || os::is_loopback(*surface.tcp)) continue;
    return fail(Code::kUsage, place + (place.starts_with("--") ? " " : ": ") + *surface.tcp +
                                  " is not a loopback address: a key is needed (--api-key, INFERD_API_KEY or listen.api_key_file)");
  }
  return {};
}

Status check_access(const Effective& effective) {
  for (const SurfaceSettings& surface : surfaces(effective)) {
    if (!surface.access) continue;
    if (auto ids = resolve_access(*surface.access, effective.place_of(surface.access_field)); !ids) return std::unexpected(ids.error());
  }
  return {};
}

}  // namespace

Status check_options(const DaemonOptions& options) {
  if (!options.not_in_this_build.empty()) {
    std::string names;
    for (const std::string& name : options.not_in_this_build) names += (names.empty() ? "" : ", ") + name;
    return fail(Code::kNotInThisBuild, names + ": not in this build");
  }
  if (options.pipe) return fail(Code::kNotInThisBuild, "--pipe: named pipes are not supported on this platform; use --uds or --tcp");
  if (options.backend && is_of_later_build(*options.backend)) {
    return fail(Code::kNotInThisBuild, "--backend " + *options.backend + ": not in this build");
  }
  if (options.n_gpu_layers > 0) return fail(Code::kNotInThisBuild, "--n-gpu-layers: this build has no GPU support");
  return {};
}

Status check_effective(const Effective& effective) {
  if (auto kinds = check_kinds(effective); !kinds) return kinds;
  if (auto keys = check_keys(effective); !keys) return keys;
  if (auto tcp = check_tcp(effective); !tcp) return tcp;
  if (effective.options.group) {
    if (auto group = os::group_id(*effective.options.group); !group) return std::unexpected(group.error());
  }
  return check_access(effective);
}

}  // namespace inferd
