// Readiness of many sockets with one system call for a whole batch of events: an edge-triggered epoll set that the I/O thread's
// io_context watches as one descriptor. Asio itself would arm each socket anew for every wait (an epoll_ctl per request; measured in
// doc/decisions/0003-poller.md). I/O thread.
#pragma once

#include <cstdint>
#include <vector>

#include "os/asio.h"
#include "os/unique_fd.h"

namespace inferd::os {

class Poller {
 public:
  struct Events {
    bool readable = false;  // data or the end of it: read until a short read
    bool ending = false;    // the peer writes no more: read until the end, no further event tells of it
    bool writable = false;  // only after want_write()
    bool hung_up = false;   // EPOLLHUP or EPOLLERR
  };
  class Watcher {
   public:
    virtual ~Watcher() = default;
    virtual void on_events(Events events) = 0;
    /// After all events of a batch, if at_batch_end() asked for it.
    virtual void on_batch_end() {}
  };
  using Slot = uint32_t;
  static constexpr Slot kNone = 0xFFFFFFFF;

  explicit Poller(asio::io_context& io);

  /// kNone if the system has no room for it. The watcher is called until remove().
  Slot add(int fd, Watcher& watcher);
  void want_write(Slot slot, int fd, bool wanted);
  void remove(Slot slot, int fd);
  /// Inside a batch of events: on_batch_end() follows once it is over, and true is returned. Answers that are sent together wake a
  /// client once instead of once each.
  bool at_batch_end(Slot slot);

 private:
  struct Entry {
    Watcher* watcher = nullptr;
    uint32_t generation = 0;  // events of an earlier owner of the slot are dropped
  };
  void wait();
  void dispatch();
  Watcher* watcher_of(uint64_t tag) const;
  uint64_t tag_of(Slot slot) const { return (uint64_t{entries_[slot].generation} << 32) | slot; }

  UniqueFd epoll_;
  asio::posix::stream_descriptor descriptor_;
  std::vector<Entry> entries_;
  std::vector<Slot> free_;
  bool in_batch_ = false;
  std::vector<uint64_t> batch_end_;  // tags of the slots that asked
};

}  // namespace inferd::os
