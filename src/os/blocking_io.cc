#include "os/blocking_io.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "os/os_error.h"

namespace inferd::os {

Status write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_fail(errno, "write");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<size_t> read_some(int fd, std::string& into, std::optional<std::chrono::steady_clock::time_point> deadline) {
  char buffer[64 * 1024];
  for (;;) {
    if (deadline) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now()).count();
      pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
      const int ready = ::poll(&wait, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000)));
      if (ready < 0 && errno == EINTR) continue;
      if (ready == 0) return fail(Code::kInUse, "timed out");
    }
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == ECONNRESET) return 0;
    if (n < 0) return os_fail(errno, "read");
    into.append(buffer, static_cast<size_t>(n));
    return static_cast<size_t>(n);
  }
}

void shut_down(int fd) noexcept { ::shutdown(fd, SHUT_RDWR); }

}  // namespace inferd::os
