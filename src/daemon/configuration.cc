#include "daemon/configuration.h"

#include <filesystem>
#include <utility>

#include "config/check_options.h"
#include "config/keys.h"
#include "config/surfaces.h"

namespace inferd {
namespace {

Result<Effective> load_checked(const DaemonOptions& options) {
  auto effective = load_effective(options);
  if (!effective) return effective;
  if (auto checked = check_effective(*effective); !checked) return std::unexpected(checked.error());
  return effective;
}

}  // namespace

Result<Configuration> load_configuration(const DaemonOptions& options, const PassedSurfaces& passed) {
  auto effective = load_checked(options);
  if (!effective) return std::unexpected(effective.error());
  Configuration configuration{std::move(*effective), {}, {}};
  const Effective& now = configuration.effective;
  bool serves_tcp = false;
  for (const SurfaceSettings& surface : surfaces(now)) {
    const auto socket = passed.find(surface.name);
    if (!surface.on && socket == passed.end()) continue;
    const bool on_tcp = socket == passed.end() ? surface.tcp.has_value() : socket->second;
    serves_tcp = serves_tcp || on_tcp;
    if (on_tcp || !surface.access) continue;
    auto ids = resolve_access(*surface.access, now.place_of(surface.access_field));
    if (!ids) return std::unexpected(ids.error());
    configuration.access.emplace(surface.name, std::move(*ids));
  }
  if (serves_tcp) {
    auto key = tcp_key(now);
    if (!key) return std::unexpected(key.error());
    configuration.tcp_key = std::move(*key);
  }
  return configuration;
}

Result<Configuration> load_configuration_again(const DaemonOptions& options, const Effective& running) {
  const std::filesystem::path& path = running.config.path;
  std::error_code error;
  if (!path.empty() && !std::filesystem::is_regular_file(path, error)) {
    return fail(Code::kNotFound, path.string() + (std::filesystem::exists(path, error) ? " is no regular file: it cannot be read again" : " is gone"));
  }
  auto effective = load_checked(options);
  if (!effective) return std::unexpected(effective.error());
  Configuration configuration{std::move(*effective), {}, {}};
  if (configuration.effective.config.listen.api_key_file == running.config.listen.api_key_file) {
    auto key = tcp_key_of_file(configuration.effective);
    if (!key) return std::unexpected(key.error());
    configuration.tcp_key = std::move(*key);
  }
  return configuration;
}

}  // namespace inferd
