// The channel between daemon and engine: a SOCK_SEQPACKET pair. A packet is one whole message of at most kMaxInlinePacket bytes;
// a longer one travels as a sealed memfd with an empty packet, so that no message is ever split or limited by a socket buffer.
//
//   packet     1 byte kind: 0 = the message follows inline; 1 = the message is in the first descriptor that comes along
//              then the message; further descriptors (a model file) belong to the message
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

inline constexpr size_t kMaxInlinePacket = 64 * 1024;

struct Packet {
  std::string bytes;
  std::vector<UniqueFd> descriptors;
};

Result<std::pair<UniqueFd, UniqueFd>> packet_socket_pair();

enum class PacketState { kDone, kWouldBlock, kClosed };

/// Sends one message. kWouldBlock only on a non-blocking socket: nothing was sent, send it again. `descriptors` stay the caller's.
Result<PacketState> send_packet(int socket, std::string_view bytes, std::span<const int> descriptors);

/// Receives one message; kClosed when the other process has ended.
Result<PacketState> receive_packet(int socket, Packet& into);

}  // namespace inferd::os
