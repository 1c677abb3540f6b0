// One connected stream socket on the I/O thread: reads what is there, writes without waiting.
// Owned by a session, which is told of events by the Poller. Output that the peer does not take is held here; nothing pushes back on
// who writes.
//
// A hang-up is EPOLLHUP or EPOLLERR: on a Unix socket the peer closed both directions; on TCP the peer's reset arrived.
// End of file alone is a half-close: read() reports it, the stream stays writable (spec README 11).
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "os/poller.h"
#include "os/unique_fd.h"

namespace inferd::os {

class Stream {
 public:
  enum class ReadState { kData, kDrained, kWouldBlock, kEndOfFile, kBroken };
  struct ReadResult {
    ReadState state;  // kDrained: data, and nothing more is there until the next event
    size_t bytes;
  };

  Stream(Poller& poller, UniqueFd fd) : poller_(poller), fd_(std::move(fd)) {}
  ~Stream() { close(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Events go to `watcher` from now on. False if the system has no room to watch it.
  bool watch(Poller::Watcher& watcher);
  bool is_open() const { return static_cast<bool>(fd_); }

  /// One non-blocking read.
  ReadResult read(std::span<char> into);

  /// The buffer to append frames to; flush() sends them.
  std::string& output() { return output_; }
  size_t unsent() const { return output_.size() - sent_; }

  /// See Poller::at_batch_end().
  bool at_batch_end() { return poller_.at_batch_end(slot_); }

  /// Sends what the kernel takes; while something is left, on_events() tells when there is room again. False: broken.
  bool flush();

  void shutdown_write();
  void close();

 private:
  Poller& poller_;
  UniqueFd fd_;
  Poller::Slot slot_ = Poller::kNone;
  bool wants_write_ = false;
  std::string output_;
  size_t sent_ = 0;  // of output_
};

}  // namespace inferd::os
