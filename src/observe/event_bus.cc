#include "observe/event_bus.h"

#include <algorithm>

namespace inferd {

void EventBus::publish(StatusEvent event) {
  if (status_.state == StatusEvent::State::kDraining && event.state != StatusEvent::State::kError) return;
  status_ = std::move(event);
  for (auto at = listeners_.begin(); at != listeners_.end();) (at++)->on_status(status_);  // a listener may unsubscribe itself
}

void EventBus::publish(Capabilities capabilities) {
  const auto same = std::ranges::find(capabilities_, capabilities.name, &Capabilities::name);
  if (same != capabilities_.end()) {
    *same = capabilities;
  } else {
    capabilities_.push_back(capabilities);
  }
  for (auto at = listeners_.begin(); at != listeners_.end();) (at++)->on_capabilities(capabilities);
}

}  // namespace inferd
