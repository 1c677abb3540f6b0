// Who sent a request, as the kernel vouches for it. Plain data.
#pragma once

#include <cstdint>
#include <string>

namespace inferd {

struct Caller {
  enum class Transport { kUnix, kTcp };
  Transport transport = Transport::kUnix;
  int64_t uid = -1;     // -1: unknown (always on TCP)
  int64_t gid = -1;
  int64_t pid = -1;
  std::string address;  // TCP: "ADDR:PORT" of the peer

  /// The text form of logs: `unix:UID:PID` or `tcp:ADDR:PORT` (spec 05 §7).
  std::string text() const {
    if (transport == Transport::kTcp) return "tcp:" + address;
    return "unix:" + std::to_string(uid) + ":" + std::to_string(pid);
  }
};

}  // namespace inferd
