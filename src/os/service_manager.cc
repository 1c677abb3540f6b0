#include "os/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/utf8.h"
#include "os/os_error.h"
#include "os/tcp.h"

namespace inferd::os {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"admin", "v1", "v2", "embed"};
constexpr size_t kMaxStatusBytes = 512;  // a message of more than 4096 bytes is dropped

// Adopts the descriptors, so that none is left open, whatever is wrong with them.
Result<std::vector<PassedSocket>> adopt() {
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(1, &names);
  if (count < 0) return os_fail(-count, "sockets of the service manager (LISTEN_FDS, LISTEN_FDNAMES)");
  std::vector<PassedSocket> sockets;
  for (int i = 0; i < count; ++i) {
    sockets.push_back({.fd = UniqueFd(SD_LISTEN_FDS_START + i), .name = names[i], .unix_path = {}, .tcp_address = {}});
    std::free(names[i]);
  }
  std::free(names);
  return sockets;
}

Status check_names(const std::vector<PassedSocket>& sockets) {
  for (const PassedSocket& socket : sockets) {
    if (std::ranges::find(kNames, std::string_view(socket.name)) == kNames.end()) {
      std::string known;
      for (const std::string_view name : kNames) known += (known.empty() ? "" : ", ") + std::string(name);
      return fail(Code::kUsage, "the service manager passes a socket named \"" + socket.name + "\": expected one of " + known +
                                    " (FileDescriptorName= in its .socket unit)");
    }
    if (std::ranges::count(sockets, socket.name, &PassedSocket::name) > 1) {
      return fail(Code::kUsage, "the service manager passes two sockets named \"" + socket.name +
                                    "\": expected one (a .socket unit of its own for each FileDescriptorName=, with one ListenStream=)");
    }
  }
  return {};
}

// Status events are the owner's alone; who may ask is said by owner, group and mode, never by "everybody".
Status check_rights(const PassedSocket& socket, const std::string& what) {
  struct stat info{};
  if (::lstat(socket.unix_path->c_str(), &info) != 0) return os_fail(errno, what + " at " + socket.unix_path->string());
  const mode_t others = socket.name == "admin" ? 0077 : 0007;
  const bool ours = info.st_uid == ::geteuid() || info.st_uid == 0;
  if (ours && (info.st_mode & others) == 0) return {};
  return fail(Code::kNotPermitted, what + " at " + socket.unix_path->string() + " has the mode " + mode_text(info.st_mode) + " and the owner " +
                                       std::to_string(info.st_uid) + ": give its .socket unit SocketMode=" +
                                       (socket.name == "admin" ? "0600" : "0660") + " and SocketUser=");
}

Status take_address(PassedSocket& socket, const std::string& what) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(socket.fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return os_fail(errno, what);
  if (address.ss_family == AF_UNIX) {
    const auto* local = reinterpret_cast<const sockaddr_un*>(&address);
    if (local->sun_path[0] == '\0') {
      return fail(Code::kNotPermitted, what + " has an abstract address, which every user may dial: give ListenStream= a path");
    }
    socket.unix_path = std::string(local->sun_path, ::strnlen(local->sun_path, sizeof local->sun_path));
    return check_rights(socket, what);
  }
  if (address.ss_family != AF_INET && address.ss_family != AF_INET6) {
    return fail(Code::kUsage, what + " is neither a Unix nor a TCP socket: expected a path or IP:PORT in ListenStream=");
  }
  socket.tcp_address = address_text(address);
  if (socket.name == "admin") {
    return fail(Code::kNotPermitted, what + " is bound to TCP " + socket.tcp_address +
                                         ": the status events are for this machine alone, give ListenStream= a path");
  }
  send_without_delay(socket.fd.get());
  return {};
}

Status prepare(PassedSocket& socket) {
  const std::string what = "socket \"" + socket.name + "\" of the service manager";
  constexpr int kListens = 1;
  if (::sd_is_socket(socket.fd.get(), AF_UNSPEC, SOCK_STREAM, kListens) <= 0) {
    return fail(Code::kUsage, what + " is no stream socket that listens (its .socket unit needs ListenStream= and Accept=no)");
  }
  if (auto taken = take_address(socket, what); !taken) return taken;
  const int flags = ::fcntl(socket.fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) return os_fail(errno, what);
  return {};
}

void tell(const std::string& state) {
  if (const int told = ::sd_notify(0, state.c_str()); told < 0) {
    log::warn("service", "{}", os_error(-told, "tell the service manager " + state.substr(0, state.find('\n'))).message);
  }
}

}  // namespace

Result<std::vector<PassedSocket>> passed_sockets() {
  auto sockets = adopt();
  if (!sockets) return sockets;
  if (auto checked = check_names(*sockets); !checked) return std::unexpected(checked.error());
  for (PassedSocket& socket : *sockets) {
    if (auto prepared = prepare(socket); !prepared) return std::unexpected(prepared.error());
  }
  return sockets;
}

std::optional<PassedSocket> take_passed(std::vector<PassedSocket>& sockets, std::string_view name) {
  const auto found = std::ranges::find(sockets, name, &PassedSocket::name);
  if (found == sockets.end()) return std::nullopt;
  PassedSocket taken = std::move(*found);
  sockets.erase(found);
  return taken;
}

std::optional<std::chrono::microseconds> watchdog_interval() {
  uint64_t microseconds = 0;
  if (::sd_watchdog_enabled(0, &microseconds) <= 0) return std::nullopt;
  return std::chrono::microseconds(microseconds);
}

void notify_watchdog() { tell("WATCHDOG=1"); }
void notify_ready() { tell("READY=1"); }
void notify_stopping() { tell("STOPPING=1"); }

void notify_reloading() {
  // systemd orders the reload by this clock (Type=notify-reload); steady_clock is CLOCK_MONOTONIC.
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch());
  tell("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(now.count()));
}

void notify_status(std::string_view text) {
  // A line end would begin another assignment.
  std::string line = to_valid_utf8(cut_utf8(text, kMaxStatusBytes));
  std::ranges::replace_if(line, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  tell("STATUS=" + line);
}

void extend_timeout(std::chrono::microseconds from_now) { tell("EXTEND_TIMEOUT_USEC=" + std::to_string(from_now.count())); }

}  // namespace inferd::os
