#include "daemon/listeners.h"

#include <utility>

#include "base/log.h"
#include "os/paths.h"
#include "os/peer.h"
#include "os/tcp.h"
#include "session/access.h"

namespace inferd {

bool uses_runtime_directory(const DaemonOptions& options) {
  const bool v1_there = !options.uds && !options.tcp && !options.pipe;
  return !options.lock || !options.admin_addr || v1_there;
}

Status check_options(const DaemonOptions& options) {
  if (!options.not_in_this_build.empty()) {
    std::string names;
    for (const std::string& name : options.not_in_this_build) names += (names.empty() ? "" : ", ") + name;
    return fail(Code::kNotInThisBuild, names + ": not in this build");
  }
  if (options.config) return fail(Code::kNotInThisBuild, "--config " + options.config->string() + ": configuration files are not in this build");
  std::error_code ignored;
  if (const auto file = os::default_config_file(); std::filesystem::exists(file, ignored)) {
    return fail(Code::kNotInThisBuild, file.string() + ": configuration files are not in this build; move it away and use options");
  }
  if (options.pipe) return fail(Code::kNotInThisBuild, "--pipe: named pipes are not supported on this platform; use --uds or --tcp");
  const std::string backend = options.backend.value_or("mock");
  if (backend == "openai-compat" || backend == "bedrock-invoke") {
    return fail(Code::kNotInThisBuild, "--backend " + backend + ": not in this build");
  }
  if (options.n_gpu_layers > 0) return fail(Code::kNotInThisBuild, "--n-gpu-layers: this build has no GPU support");
  if (backend != "llamacpp" && options.model_path) return fail(Code::kUsage, "--model-path is used by --backend llamacpp only, which was not given");
  return {};
}

Result<Transport> choose_v1_transport(const DaemonOptions& options, std::optional<gid_t> group) {
  Transport transport;
  if (options.tcp) {
    transport.tcp_address = *options.tcp;
    transport.key = options.api_key;
    if (transport.key && transport.key->empty()) return fail(Code::kUsage, "--api-key is empty: give a key, or none");
    if (!transport.key) {
      if (!os::is_loopback(*options.tcp)) {
        return fail(Code::kUsage, "--tcp " + *options.tcp + " is not a loopback address: a key is needed (--api-key or INFERD_API_KEY)");
      }
      log::warn("daemon", "--tcp {} without a key: every user and program of this machine may use it", *options.tcp);
    }
    return transport;
  }
  transport.unix_path = options.uds.value_or(os::runtime_directory() / "infer.sock");
  transport.group = group;
  transport.group_name = options.group.value_or("");
  return transport;
}

Result<std::unique_ptr<os::Listener>> open_listener(os::asio::io_context& io, const Transport& transport) {
  if (!transport.unix_path) {
    auto tcp = os::listen_tcp(transport.tcp_address, "--tcp");
    if (!tcp) return std::unexpected(tcp.error());
    log::info("daemon", "v1 on tcp {}{}", tcp->address, transport.key ? " with a key" : "");
    return std::make_unique<os::Listener>(io, std::move(tcp->fd), "v1 on tcp " + tcp->address, std::nullopt);
  }
  auto fd = os::listen_unix(*transport.unix_path, {.mode = 0660, .group = transport.group});
  if (!fd) return std::unexpected(fd.error());
  auto listener = std::make_unique<os::Listener>(io, std::move(*fd), "v1 socket " + transport.unix_path->string(), *transport.unix_path);
  if (transport.group) {
    if (auto reached = os::check_group_can_reach(*transport.unix_path, *transport.group, transport.group_name); !reached) {
      return std::unexpected(reached.error());
    }
  }
  log::info("daemon", "v1 on socket {}", transport.unix_path->string());
  return listener;
}

void accept_connection(SessionContext& context, os::UniqueFd client, Connection::SessionFactory make_session, const std::string* key) {
  Caller caller;
  if (auto peer = os::peer_of(client.get())) {
    caller = peer->tcp ? Caller::tcp_peer(peer->address) : Caller::unix_peer(peer->uid, peer->gid, peer->pid);
  } else {
    log::warn("daemon", "credentials of a client: {}", peer.error().message);
  }
  log_connection_accepted(context.log, caller);
  std::make_shared<Connection>(context, std::move(client), std::move(caller), make_session, key)->start();
}

}  // namespace inferd
