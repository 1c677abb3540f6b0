#include "os/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "os/os_error.h"

namespace inferd::os {

Result<Peer> peer_of(int socket_fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  Peer peer;
  if (::getpeername(socket_fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return os_fail(errno, "getpeername");
  if (address.ss_family == AF_UNIX) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return os_fail(errno, "SO_PEERCRED");
    peer.uid = credentials.uid;
    peer.gid = credentials.gid;
    peer.pid = credentials.pid;
    return peer;
  }
  peer.tcp = true;
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address);
    ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    peer.address = std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
  } else {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    peer.address = "[" + std::string(text) + "]:" + std::to_string(ntohs(v6->sin6_port));
  }
  return peer;
}

}  // namespace inferd::os
