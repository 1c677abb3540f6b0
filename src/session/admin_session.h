// One client of the admin socket: capabilities of every backend, the current status, then every event (spec 04 §4). Nothing is
// read for its meaning; a client that closes is noticed, one that falls far behind is closed. I/O thread.
#pragma once

#include <memory>
#include <set>

#include "observe/event_bus.h"
#include "os/stream.h"

namespace inferd {

class AdminSession final : public std::enable_shared_from_this<AdminSession>, private os::Poller::Watcher {
 public:
  AdminSession(os::Poller& poller, EventBus& bus, std::set<std::shared_ptr<AdminSession>>& sessions, os::UniqueFd fd);

  void start();
  void close();

 private:
  void send();
  void on_events(os::Poller::Events events) override;

  EventBus& bus_;
  std::set<std::shared_ptr<AdminSession>>& sessions_;  // who keeps us alive
  os::Stream stream_;
  EventBus::Subscription subscription_;
  bool subscribed_ = false;
  bool blocked_ = false;  // the peer takes nothing now
  size_t behind_ = 0;  // events since the peer last took everything
};

}  // namespace inferd
