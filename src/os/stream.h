// One connected stream socket on the I/O thread: reads what is there, writes without waiting, notices a hang-up.
// Owned by a connection (session/). Output that the peer does not take is held here; nothing pushes back on who writes.
//
// A hang-up is EPOLLHUP or EPOLLERR: on a Unix socket the peer closed both directions; on TCP the peer's reset arrived.
// End of file alone is a half-close: read() reports it, the stream stays writable (spec README 11).
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "os/asio.h"
#include "os/unique_fd.h"

namespace inferd::os {

class Stream {
 public:
  enum class ReadState { kData, kWouldBlock, kEndOfFile, kBroken };
  struct ReadResult {
    ReadState state;
    size_t bytes;
  };

  Stream(asio::io_context& io, UniqueFd fd);

  int fd() { return socket_.native_handle(); }
  bool is_open() const { return socket_.is_open(); }

  /// One non-blocking read.
  ReadResult read(std::span<char> into);

  /// Calls `handler(ErrorCode)` once when there is something to read (or the end of it).
  template <class Handler>
  void async_readable(Handler&& handler) {
    socket_.async_wait(Socket::wait_read, std::forward<Handler>(handler));
  }

  /// Calls `handler(ErrorCode)` once at a hang-up; spurious calls are possible: ask hung_up().
  template <class Handler>
  void async_hang_up(Handler&& handler) {
    socket_.async_wait(Socket::wait_error, std::forward<Handler>(handler));
  }
  bool hung_up();

  /// The buffer to append frames to; flush() sends them.
  std::string& output() { return output_; }
  size_t unsent() const { return output_.size() - sent_; }

  /// Sends what the kernel takes. False if the connection is broken. What remains is sent by the caller calling
  /// flush() again from async_writable().
  bool flush();
  template <class Handler>
  void async_writable(Handler&& handler) {
    socket_.async_wait(Socket::wait_write, std::forward<Handler>(handler));
  }

  void shutdown_write();
  void close();

 private:
  using Socket = asio::generic::stream_protocol::socket;
  Socket socket_;
  std::string output_;
  size_t sent_ = 0;  // of output_
};

}  // namespace inferd::os
