// Where v1 is served: which transport the options ask for, its rules (spec 05 §3, README 18, 19, 22), its listener, and what
// happens with an accepted socket. I/O thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "config/options.h"
#include "os/listener.h"
#include "os/unix_socket.h"
#include "session/connection.h"

namespace inferd {

struct Transport {
  std::optional<std::filesystem::path> unix_path;  // else tcp
  std::optional<gid_t> group;
  std::string group_name;
  std::string tcp_address;
  std::optional<std::string> key;  // TCP only
};

/// True if a lock or socket of these options stands in the default runtime directory.
bool uses_runtime_directory(const DaemonOptions& options);

/// What this build cannot serve, and what does not fit together: a start error each.
Status check_options(const DaemonOptions& options);

Result<Transport> choose_v1_transport(const DaemonOptions& options, std::optional<gid_t> group);

Result<std::unique_ptr<os::Listener>> open_listener(os::asio::io_context& io, const Transport& transport);

void accept_connection(SessionContext& context, os::UniqueFd client, Connection::SessionFactory make_session, const std::string* key);

}  // namespace inferd
