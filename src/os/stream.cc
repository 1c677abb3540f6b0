#include "os/stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

namespace inferd::os {

Stream::Stream(asio::io_context& io, UniqueFd fd) : socket_(io) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length);
  ErrorCode error;
  socket_.assign(asio::generic::stream_protocol(address.ss_family, 0), fd.get(), error);
  if (!error) fd.release();  // on an error (no memory in epoll) the descriptor closes here and is_open() is false
}

Stream::ReadResult Stream::read(std::span<char> into) {
  for (;;) {
    const ssize_t n = ::recv(fd(), into.data(), into.size(), MSG_DONTWAIT);
    if (n > 0) return {ReadState::kData, static_cast<size_t>(n)};
    if (n == 0) return {ReadState::kEndOfFile, 0};
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {ReadState::kWouldBlock, 0};
    return {ReadState::kBroken, 0};
  }
}

bool Stream::hung_up() {
  pollfd state{.fd = fd(), .events = 0, .revents = 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

bool Stream::flush() {
  while (sent_ < output_.size()) {
    const ssize_t n = ::send(fd(), output_.data() + sent_, output_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      sent_ += static_cast<size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return true;
    } else if (errno != EINTR) {
      return false;
    }
  }
  // A small buffer stays for the next frame; a large one is given back, so that idle connections cost little.
  if (output_.capacity() > 16 * 1024) {
    std::string().swap(output_);
  } else {
    output_.clear();
  }
  sent_ = 0;
  return true;
}

void Stream::shutdown_write() { ::shutdown(fd(), SHUT_WR); }

void Stream::close() {
  ErrorCode ignored;
  if (socket_.is_open()) socket_.close(ignored);
}

}  // namespace inferd::os
