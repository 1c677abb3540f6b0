// What the daemon has to do with a service manager (systemd): it takes over the sockets that it opened, and tells it how it is. Without one
// there are no sockets, and telling does nothing. Called by the daemon: passed_sockets() first of all, as it changes the environment, which
// other threads may read; the rest on any thread. Owns nothing.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

/// A socket that listens already: whoever dials it waits until somebody accepts. Non-blocking, closed in programs that we start. The file
/// of a Unix socket belongs to the service manager: it is not unlinked.
struct PassedSocket {
  UniqueFd fd;
  std::string name;                                // FileDescriptorName= of its .socket unit: admin, v1, v2 or embed
  std::optional<std::filesystem::path> unix_path;  // else TCP
  std::string tcp_address;                         // IP:PORT, as os::is_loopback() takes it
};

/// The sockets of LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, which are unset. Once: a second call finds none. Errors name the socket:
/// an unknown name, two of one name, one that is no listening stream socket, an abstract address, admin on TCP, a file that everybody (admin:
/// anybody else) may open.
Result<std::vector<PassedSocket>> passed_sockets();

/// Takes the socket of that name out of the list.
std::optional<PassedSocket> take_passed(std::vector<PassedSocket>& sockets, std::string_view name);

/// How long the service manager waits for a notify_watchdog() before it ends us; call it twice as often. None: it does not wait.
std::optional<std::chrono::microseconds> watchdog_interval();
void notify_watchdog();

/// The start has ended, or a reload that notify_reloading() began.
void notify_ready();
void notify_reloading();
void notify_stopping();

/// What `systemctl status` shows: one line. Called as often as it changes, some times a second at most.
void notify_status(std::string_view text);

/// A start or stop that goes on may take this long from now, whatever the unit's TimeoutStartSec= and TimeoutStopSec= say.
void extend_timeout(std::chrono::microseconds from_now);

}  // namespace inferd::os
