#include "observe/event_bus.h"

#include <algorithm>
#include <utility>

namespace inferd {

void EventBus::publish(StatusEvent event) {
  if (status_.state == StatusEvent::State::kDraining && event.state != StatusEvent::State::kError) return;
  event.warning = std::move(status_.warning);
  status_ = std::move(event);
  tell_status();
}

void EventBus::tell_status() {
  for (auto at = listeners_.begin(); at != listeners_.end();) (at++)->on_status(status_);  // a listener may unsubscribe itself
}

void EventBus::warn(std::optional<std::string> warning) {
  std::string text = std::move(warning).value_or("");
  if (text == status_.warning) return;
  status_.warning = std::move(text);
  tell_status();
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
