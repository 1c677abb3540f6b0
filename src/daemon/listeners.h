// Where a surface is served: which transport the configuration asks for, its rules (spec 05 §3, README 15, 18, 19, 22), who may use it, its
// listener, and what happens with an accepted socket. I/O thread.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "config/surfaces.h"
#include "daemon/configuration.h"
#include "os/listener.h"
#include "os/secret_memory.h"
#include "os/service_manager.h"
#include "os/unix_socket.h"
#include "session/access.h"
#include "session/connection.h"

namespace inferd {

/// A path or an address; `passed` is its socket if the service manager made it.
struct Transport {
  std::string surface = {};  // its name, for logs
  std::optional<os::PassedSocket> passed = {};
  std::optional<std::filesystem::path> unix_path = {};
  std::string tcp_address = {};
  mode_t mode = 0660;  // of the socket file
  std::optional<gid_t> group = {};
  std::string group_name = {};
  std::string tcp_place = "--tcp";                   // what set the address, for errors
  std::shared_ptr<const os::SecretText> key = {};    // TCP only; null: none is asked for
  std::optional<AccessList> access = {};             // Unix sockets only; none: whoever can open the socket

  bool is_tcp() const { return !unix_path; }
};

/// True if a lock or socket of these options stands in the default runtime directory.
bool uses_runtime_directory(const DaemonOptions& options);

/// Takes the surface's access list out of `configuration`. `key`: of every surface on TCP.
Result<Transport> choose_transport(const SurfaceSettings& surface, Configuration& configuration, std::shared_ptr<const os::SecretText> key,
                                   std::optional<gid_t> group, std::optional<os::PassedSocket> passed);

/// Takes the passed socket out of `transport`.
Result<std::unique_ptr<os::Listener>> open_listener(os::asio::io_context& io, Transport& transport);

void accept_connection(SessionContext& context, os::UniqueFd client, const Transport& transport, const SessionKind& kind);

}  // namespace inferd
