// Who sent a request, as the kernel vouches for it. Plain data.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "request/flow.h"

namespace inferd {

struct Caller {
  enum class Transport { kUnix, kTcp };
  Transport transport = Transport::kUnix;
  int64_t uid = -1;  // -1: unknown (always on TCP)
  int64_t gid = -1;
  int64_t pid = -1;
  std::string text = "unix:-1:-1";  // for logs: `unix:UID:PID` or `tcp:ADDR:PORT` (spec 05 §7)
  std::string host;                 // TCP: ADDR

  static Caller unix_peer(int64_t uid, int64_t gid, int64_t pid) {
    return {Transport::kUnix, uid, gid, pid, "unix:" + std::to_string(uid) + ":" + std::to_string(pid), {}};
  }
  /// `address`: "ADDR:PORT".
  static Caller tcp_peer(const std::string& address) {
    return {Transport::kTcp, -1, -1, -1, "tcp:" + address, address.substr(0, address.rfind(':'))};
  }

  /// Its path through the levels of fairness; `serial` is the connection's, unique in the daemon's life.
  Flow flow(uint64_t serial) const {
    if (transport == Transport::kTcp) return {kTcpUser, std::hash<std::string>()(host), serial};
    return {static_cast<uint64_t>(uid), static_cast<uint64_t>(pid), serial};
  }
};

}  // namespace inferd
