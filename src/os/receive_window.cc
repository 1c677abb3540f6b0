#include "os/receive_window.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

namespace inferd::os {

void fit_receive_window(int socket, uint64_t bytes_per_second) {
  constexpr uint64_t kLeast = 256u << 10, kMost = 64u << 20;
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return;
  const uint64_t needed = bytes_per_second * info.tcpi_rtt / 1'000'000;  // tcpi_rtt: microseconds
  const int window = static_cast<int>(std::clamp(needed, kLeast, kMost));
  ::setsockopt(socket, IPPROTO_TCP, TCP_WINDOW_CLAMP, &window, sizeof window);
}

}  // namespace inferd::os
