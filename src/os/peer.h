// Who is at the other end of an accepted socket, as the kernel says (SO_PEERCRED, SO_PEERGROUPS; the address on TCP), and which uid the
// name of a user stands for. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace inferd::os {

struct Peer {
  bool tcp = false;
  int64_t uid = -1, gid = -1, pid = -1;
  std::string address;  // TCP: "ADDR:PORT"
};

Result<Peer> peer_of(int socket_fd);

/// The supplementary groups that the peer of a Unix socket had when it connected.
Result<std::vector<gid_t>> peer_groups(int socket_fd);

/// User id by name; an unknown user is kUsage and named. The user database may be a network's: this may block. (Groups: unix_socket.h.)
Result<uid_t> user_id(const std::string& name);

}  // namespace inferd::os
