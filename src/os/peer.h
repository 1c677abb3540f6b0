// Who is at the other end of an accepted socket, as the kernel says (SO_PEERCRED; the address on TCP). Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace inferd::os {

struct Peer {
  bool tcp = false;
  int64_t uid = -1, gid = -1, pid = -1;
  std::string address;  // TCP: "ADDR:PORT"
};

Result<Peer> peer_of(int socket_fd);

}  // namespace inferd::os
