#include "client/dial.h"

#include <filesystem>

#include "client/connection.h"
#include "os/blocking_io.h"
#include "os/paths.h"
#include "os/tcp.h"
#include "os/unix_socket.h"
#include "wire/auth_codec.h"

namespace inferd::client {
namespace {

Failure to_failure(const Error& error) {
  const bool refused = error.code == Code::kNotPermitted;
  return Failure{refused ? Failure::Kind::kNotPermitted : Failure::Kind::kUnreachable, {}, error.message};
}

}  // namespace

Expected<os::UniqueFd> dial_unix(const std::optional<std::string>& path, const std::string& leaf) {
  if (path) {
    auto fd = os::connect_unix(*path);
    if (!fd) return std::unexpected(to_failure(fd.error()));
    return std::move(*fd);
  }
  std::optional<Error> first;
  for (const auto& folder : os::runtime_directories_to_try()) {
    if (std::error_code ignored; std::filesystem::exists(folder, ignored) && !os::is_trusted_directory(folder)) {
      first = Error{Code::kNotPermitted, folder.string() + " belongs to another user: not used"};
      continue;
    }
    auto fd = os::connect_unix(folder / leaf);
    if (fd) return std::move(*fd);
    // A socket that is there but not for us says more than one that is missing.
    if (!first || (first->code != Code::kNotPermitted && fd.error().code == Code::kNotPermitted)) first = fd.error();
  }
  return std::unexpected(to_failure(*first));
}

Expected<os::UniqueFd> dial(const Endpoint& endpoint, const std::string& leaf) {
  if (!endpoint.tcp) return dial_unix(endpoint.socket, leaf);
  auto fd = os::connect_tcp(*endpoint.tcp);
  if (!fd) return std::unexpected(to_failure(fd.error()));
  if (!endpoint.key.empty()) {
    std::string line;
    wire::append_auth(line, endpoint.key);
    if (auto sent = os::write_all(fd->get(), line); !sent) return std::unexpected(lost(sent.error()));
  }
  return std::move(*fd);
}

}  // namespace inferd::client
