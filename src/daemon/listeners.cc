#include "daemon/listeners.h"

#include <utility>

#include "base/log.h"
#include "os/paths.h"
#include "os/peer.h"
#include "os/system.h"
#include "os/tcp.h"

namespace inferd {
namespace {

// check_effective() has seen the address of an option or the config file, not that of a socket that was passed.
Status check_tcp(const Transport& transport) {
  if (transport.key) return {};
  const std::string place = transport.passed ? "the socket " + transport.surface + " of the service manager" : transport.surface;
  if (!os::is_loopback(transport.tcp_address)) {
    return fail(Code::kUsage, place + " on " + transport.tcp_address +
                                  " is not a loopback address: a key is needed (INFERD_API_KEY or listen.api_key_file)");
  }
  log::warn("daemon", "{} on tcp {} without a key: every user and program of this machine may use it", place, transport.tcp_address);
  return {};
}

Result<os::UniqueFd> listen_on(Transport& transport) {
  if (transport.passed) return std::move(std::exchange(transport.passed, std::nullopt)->fd);
  if (transport.unix_path) return os::listen_unix(*transport.unix_path, {.mode = transport.mode, .group = transport.group});
  auto tcp = os::listen_tcp(transport.tcp_address, transport.tcp_place);
  if (!tcp) return std::unexpected(tcp.error());
  log::info("daemon", "{} listens on {}", transport.surface, tcp->address);  // with the port that 0 stood for
  return std::move(tcp->fd);
}

}  // namespace

bool uses_runtime_directory(const DaemonOptions& options) {
  const bool v1_there = !options.uds && !options.tcp && !options.pipe;
  const bool v2_there = options.v2 && !options.v2_addr && !options.v2_tcp;
  const bool embed_there = options.embed && !options.embed_addr && !options.embed_tcp;
  return !options.lock || !options.admin_addr || v1_there || v2_there || embed_there;
}

Result<Transport> choose_transport(const SurfaceSettings& surface, Configuration& configuration, std::shared_ptr<const os::SecretText> key,
                                   std::optional<gid_t> group, std::optional<os::PassedSocket> passed) {
  const Effective& effective = configuration.effective;
  Transport transport{.surface = std::string(surface.name)};
  if (passed) {
    if (surface.tcp || surface.socket) {
      log::warn("daemon", "{} is served on the socket that the service manager passed: the configured one has no effect", surface.name);
    }
    transport.unix_path = passed->unix_path;
    transport.tcp_address = passed->tcp_address;
    transport.passed = std::move(passed);
  } else if (surface.tcp) {
    transport.tcp_address = *surface.tcp;
    transport.tcp_place = place_of_tcp(effective, surface);
  } else {
    transport.unix_path = surface.socket.value_or(os::runtime_directory() / surface.socket_name);
    transport.group = group;
    transport.group_name = effective.options.group.value_or("");
  }
  if (transport.is_tcp()) {
    transport.key = std::move(key);
    if (auto checked = check_tcp(transport); !checked) return std::unexpected(checked.error());
    if (transport.passed && surface.access) {
      log::warn("daemon", "{} has no effect: the service manager passes {} on TCP, where nobody vouches for a uid", surface.access_field,
                surface.name);
    }
  } else if (auto ids = configuration.access.extract(transport.surface)) {
    transport.access = AccessList(std::move(ids.mapped().users), std::move(ids.mapped().groups), os::effective_user(),
                                  std::string(surface.access_field) + " of " + effective.config.path.string());
  }
  return transport;
}

Result<std::unique_ptr<os::Listener>> open_listener(os::asio::io_context& io, Transport& transport) {
  const bool passed = transport.passed.has_value();
  const std::string name =
      transport.surface + (transport.unix_path ? " on socket " + transport.unix_path->string() : " on tcp " + transport.tcp_address);
  auto fd = listen_on(transport);
  if (!fd) return std::unexpected(fd.error());
  // A socket that was passed stays where it is: the service manager listens on.
  auto listener = std::make_unique<os::Listener>(io, std::move(*fd), name, passed ? std::nullopt : transport.unix_path);
  if (transport.group) {
    if (auto reached = os::check_group_can_reach(*transport.unix_path, *transport.group, transport.group_name); !reached) {
      return std::unexpected(reached.error());
    }
  }
  log::info("daemon", "{}{}{}", name, passed ? ", passed by the service manager" : "", transport.key ? ", with a key" : "");
  return listener;
}

void accept_connection(SessionContext& context, os::UniqueFd client, const Transport& transport, const SessionKind& kind) {
  Caller caller;
  const auto peer = os::peer_of(client.get());
  if (peer) {
    caller = peer->tcp ? Caller::tcp_peer(peer->address) : Caller::unix_peer(peer->uid, peer->gid, peer->pid);
  } else {
    log::warn("daemon", "credentials of a client: {}", peer.error().message);
  }
  if (transport.access && !may_use(*transport.access, caller, client.get())) {
    return refuse_connection(context, kind, std::move(client), std::move(caller), *transport.access);
  }
  log_connection_accepted(context.log, kind, caller);
  std::make_shared<Connection>(context, std::move(client), std::move(caller), kind, transport.key)->start();
}

}  // namespace inferd
