#include "config/check_options.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "config/access_ids.h"
#include "config/config_table.h"
#include "config/keys.h"
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
  const auto& tcp = effective.options.tcp;
  if (!tcp) return {};
  const bool from_option = effective.options.given.contains("--tcp");
  if (auto address = os::check_address(*tcp, from_option ? "--tcp" : effective.place_of("listen.tcp")); !address) return address;
  if (has_tcp_key(effective) || os::is_loopback(*tcp)) return {};
  return fail(Code::kUsage, (from_option ? "--tcp " + *tcp : effective.place_of("listen.tcp", *tcp)) +
                                " is not a loopback address: a key is needed (--api-key, INFERD_API_KEY or listen.api_key_file)");
}

Status check_access(const Effective& effective) {
  const AccessSettings& access = effective.config.access;
  const std::pair<const char*, const std::optional<AccessRule>*> rules[] = {
      {"access.v1", &access.v1}, {"access.v2", &access.v2}, {"access.embed", &access.embed}};
  for (const auto& [path, rule] : rules) {
    if (!*rule) continue;
    if (auto ids = resolve_access(**rule, effective.place_of(path)); !ids) return std::unexpected(ids.error());
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
