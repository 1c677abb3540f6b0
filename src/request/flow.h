// The path of a caller through the levels of fairness, from whom the kernel vouches for down to one connection. Plain data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace inferd {

/// On a Unix socket {uid, pid, serial of the connection}; on TCP {kTcpUser, hash of the address, serial}.
using Flow = std::array<uint64_t, 3>;

inline constexpr size_t kFlowUser = 0, kFlowProcess = 1, kFlowConnection = 2;
inline constexpr uint64_t kTcpUser = uint64_t{1} << 63;  // whoever knows the key; no uid is that large

}  // namespace inferd
