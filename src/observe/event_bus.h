// What the daemon says about itself: the current status, every backend's capabilities, and who listens.
// Backends and the bring-up publish; admin sessions subscribe. I/O thread only. Owns the snapshot, not the listeners.
#pragma once

#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "request/capabilities.h"
#include "request/status_event.h"

namespace inferd {

class EventBus {
 public:
  struct Listener {
    std::function<void(const StatusEvent&)> on_status;
    std::function<void(const Capabilities&)> on_capabilities;
  };
  using Subscription = std::list<Listener>::iterator;

  /// Everything published from now on reaches the listener. Subscribe first, then take the snapshot: nothing falls between.
  Subscription subscribe(Listener listener) { return listeners_.insert(listeners_.end(), std::move(listener)); }
  void unsubscribe(Subscription subscription) { listeners_.erase(subscription); }

  const StatusEvent& status() const { return status_; }
  const std::vector<Capabilities>& capabilities() const { return capabilities_; }

  /// After kDraining only kError counts: whoever waits for kReady must not be sent to a closed door.
  void publish(StatusEvent event);
  /// Replaces those of the entry with the same name; the lifecycle status stays as it is (spec 04 §4).
  void publish(Capabilities capabilities);
  /// What is wrong beside the status, which stays as it is: it is told again at once with the warning, and every later one carries it,
  /// until the warning ends (nothing). A warning that is told already is not told again.
  void warn(std::optional<std::string> warning);

 private:
  void tell_status();

  StatusEvent status_;
  std::vector<Capabilities> capabilities_;
  std::list<Listener> listeners_;
};

}  // namespace inferd
