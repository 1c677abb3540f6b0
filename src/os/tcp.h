// Listens on and connects to TCP addresses written as IP:PORT. Host names are refused for listening (spec 05 §5). Any thread.
#pragma once

#include <sys/socket.h>

#include <string>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

struct TcpListener {
  UniqueFd fd;          // listening, non-blocking
  std::string address;  // with the actual port
};

/// `text` must be a literal socket address; `option` names where it came from, for the error.
Result<TcpListener> listen_tcp(const std::string& text, const std::string& option);

/// kUsage unless `text` is a literal socket address; `option` as for listen_tcp().
Status check_address(const std::string& text, const std::string& option);

/// "IP:PORT", "[IP]:PORT" for IPv6.
std::string address_text(const sockaddr_storage& address);

/// A token is sent when it is there. Accepted sockets have it from the listening one.
void send_without_delay(int fd);

/// True for 127.0.0.0/8 and ::1; an address that cannot be parsed is not loopback.
bool is_loopback(const std::string& text);

/// A connected, blocking socket; host names are resolved.
Result<UniqueFd> connect_tcp(const std::string& host_and_port);

}  // namespace inferd::os
