#include "schedule/admission.h"

#include <utility>

namespace inferd {

Status Admission::enter(const void* entry_key, Priority priority, Place& place) {
  Entry& entry = entries_[entry_key];
  place.entry_ = entry_key;
  place.batch_ = priority == Priority::kBatch;
  if (entry.running < entry.limit && entry.queue.empty()) {
    ++entry.running;
    place.state_ = Place::State::kRunning;
    return {};
  }
  const bool full = waiting_ >= waiting_places_ || (place.batch_ && waiting_batch_ >= (waiting_places_ + 1) / 2);
  if (full) return fail(Code::kQueueFull, "queue full");
  place.at_ = entry.queue.insert(entry.queue.end(), &place);
  place.state_ = Place::State::kWaiting;
  ++waiting_;
  if (place.batch_) ++waiting_batch_;
  return {};
}

void Admission::leave(Place& place) {
  const auto state = std::exchange(place.state_, Place::State::kNone);
  if (state == Place::State::kNone) return;
  Entry& entry = entries_[place.entry_];
  if (state == Place::State::kWaiting) {
    entry.queue.erase(place.at_);
    --waiting_;
    if (place.batch_) --waiting_batch_;
    return;
  }
  --entry.running;
  while (entry.running < entry.limit && !entry.queue.empty()) {
    Place& next = *entry.queue.front();
    entry.queue.pop_front();
    --waiting_;
    if (next.batch_) --waiting_batch_;
    ++entry.running;
    next.state_ = Place::State::kRunning;
    next.granted();
  }
}

}  // namespace inferd
