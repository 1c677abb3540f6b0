#include "os/peer.h"

#include <pwd.h>
#include <sys/socket.h>

#include <cerrno>

#include "os/os_error.h"
#include "os/tcp.h"

namespace inferd::os {
namespace {
constexpr size_t kUsualGroups = 64;           // more take a second call
constexpr size_t kUserEntryBytes = 16 * 1024;  // one line of /etc/passwd
}  // namespace

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
  peer.address = address_text(address);
  return peer;
}

Result<std::vector<gid_t>> peer_groups(int socket_fd) {
  std::vector<gid_t> groups(kUsualGroups);
  for (;;) {
    const size_t room = groups.size();
    auto size = static_cast<socklen_t>(room * sizeof(gid_t));
    const bool got = ::getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0;
    const int error = errno;
    groups.resize(size / sizeof(gid_t));  // also on ERANGE: it says how many there are
    if (got) return groups;
    if (error != ERANGE || groups.size() <= room) return os_fail(error, "SO_PEERGROUPS");
  }
}

Result<uid_t> user_id(const std::string& name) {
  std::vector<char> buffer(kUserEntryBytes);
  passwd entry{}, *found = nullptr;
  const int code = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (code != 0) return os_fail(code, "user " + name);
  if (found == nullptr) return fail(Code::kUsage, "user " + name + " does not exist (create it with: useradd " + name + ")");
  return found->pw_uid;
}

}  // namespace inferd::os
