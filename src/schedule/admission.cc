#include "schedule/admission.h"

#include <algorithm>
#include <utility>

#include "request/limits.h"

namespace inferd {
namespace {

// The first level at which two callers differ; the number of levels if they are one connection.
size_t parting_level(const Flow& a, const Flow& b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

bool same_branch(const Flow& a, const Flow& b, size_t level) { return parting_level(a, b) > level; }

}  // namespace

void Admission::set_limit(const void* entry, size_t limit, bool can_pause) {
  entries_[entry].limit = limit;
  entries_[entry].can_pause = can_pause;
}

void Admission::count(const Place& place, int change) {
  const auto by = static_cast<size_t>(change);  // -1 wraps around and takes one away
  if (place.state_ == Place::State::kWaiting) {
    waiting_ += by;
    if (place.batch_) waiting_batch_ += by;
  } else if (place.state_ == Place::State::kPaused && place.batch_) {
    paused_batch_ += by;
  }
  if (place.wants_position_ && place.state_ != Place::State::kRunning) watching_ += by;
}

Status Admission::enter(const void* entry_key, const Asked& asked, Place& place) {
  Entry& entry = entries_[entry_key];
  place.entry_ = entry_key;
  place.batch_ = asked.priority == Priority::kBatch;
  place.promoted_ = false;
  place.wants_position_ = asked.wants_position;
  place.flow_ = asked.flow;
  place.arrival_ = ++arrivals_;
  place.position_ = 0;
  if (place.batch_ && !batch_waits()) entry.batch_served = std::max(entry.batch_served, clock_());
  if (entry.running.size() < entry.limit && entry.queue.empty()) {
    share_.enter(place.flow_);
    place.state_ = Place::State::kRunning;
    entry.running.push_back(&place);
    return {};
  }
  const bool full = waiting_ >= waiting_places_ || (place.batch_ && waiting_batch_ >= (waiting_places_ + 1) / 2);
  // Who would get a running request's place at once needs no waiting place, whatever the queue holds.
  place.state_ = Place::State::kWaiting;
  share_.enter(place.flow_);
  Place* const victim = victim_for(entry, place);
  if (full && victim == nullptr) {
    place.state_ = Place::State::kNone;
    share_.leave(place.flow_);
    return fail(Code::kQueueFull, "queue full");
  }
  entry.queue.push_back(&place);
  count(place, +1);
  if (victim != nullptr && !entry.settling) {
    entry.settling = true;  // nobody else gets the place meanwhile
    pause(entry, *victim);
    std::erase(entry.queue, &place);
    count(place, -1);
    place.state_ = Place::State::kRunning;
    entry.running.push_back(&place);
    if (place.batch_) entry.batch_served = clock_();
    entry.settling = false;
  }
  if (watching_ > 0) tell_positions(entry);
  return {};
}

void Admission::leave(Place& place) {
  if (place.state_ == Place::State::kNone) return;
  Entry& entry = entries_[place.entry_];
  std::erase(place.state_ == Place::State::kRunning ? entry.running : entry.queue, &place);
  count(place, -1);
  place.state_ = Place::State::kNone;
  share_.leave(place.flow_);
  settle(entry);
}

void Admission::charge(const Place& place, uint64_t tokens) {
  share_.charge(place.flow_, tokens);
  if (place.batch_) entries_[place.entry_].batch_served = clock_();
}

void Admission::tick() {
  for (auto& [key, entry] : entries_) settle(entry);
}

bool Admission::goes_before(const Place& a, const Place& b) const {
  if (is_batch(a) != is_batch(b)) return !is_batch(a);
  if (const int order = share_.compare(a.flow_, b.flow_); order != 0) return order < 0;
  return a.arrival_ < b.arrival_;
}

Admission::Place* Admission::next_of(const Entry& entry) const {
  const auto best = std::ranges::min_element(entry.queue, [this](const Place* a, const Place* b) { return goes_before(*a, *b); });
  return best == entry.queue.end() ? nullptr : *best;
}

// The running request that has the least claim to its place, if `waiting` has a better one; null if none.
Admission::Place* Admission::victim_for(const Entry& entry, const Place& waiting) const {
  if (!entry.can_pause || entry.running.size() < entry.limit) return nullptr;
  Place* victim = nullptr;
  std::pair<bool, size_t> most{false, 0};  // is batch before interactive, places that its caller has more
  for (Place* const running : entry.running) {
    if (is_batch(waiting) && !is_batch(*running)) continue;
    const size_t level = std::min(parting_level(running->flow_, waiting.flow_), size_t{kFlowConnection});
    const auto places = [&](const Flow& flow) {
      return static_cast<size_t>(std::ranges::count_if(entry.running, [&](const Place* p) { return same_branch(p->flow_, flow, level); }));
    };
    const bool by_class = is_batch(*running) && !is_batch(waiting);
    const size_t theirs = places(running->flow_), ours = places(waiting.flow_);
    if (!by_class && theirs < ours + 2) continue;
    const std::pair<bool, size_t> claim{by_class, theirs > ours ? theirs - ours : 0};
    if (victim != nullptr && claim < most) continue;  // of equals the one that was granted last: it loses least
    most = claim;
    victim = running;
  }
  return victim;
}

void Admission::start(Entry& entry, Place& place) {
  std::erase(entry.queue, &place);
  count(place, -1);
  place.state_ = Place::State::kRunning;
  entry.running.push_back(&place);
  if (place.batch_) entry.batch_served = clock_();
  place.granted();
}

void Admission::pause(Entry& entry, Place& place) {
  std::erase(entry.running, &place);
  place.state_ = Place::State::kPaused;
  const auto behind = std::ranges::find_if(entry.queue, [&](const Place* other) { return other->arrival_ > place.arrival_; });
  entry.queue.insert(behind, &place);
  count(place, +1);
  place.position_ = 0;
  place.paused();
}

// When batch as a class has got nothing for a while, the one that waits longest is served like an interactive one.
void Admission::promote_starved(Entry& entry) {
  if (clock_() - entry.batch_served < kBatchAgeing) return;
  const auto oldest = std::ranges::find_if(entry.queue, [](const Place* place) { return is_batch(*place); });
  if (oldest == entry.queue.end()) return;
  (*oldest)->promoted_ = true;
  entry.batch_served = clock_();
}

void Admission::settle(Entry& entry) {
  entry.again = true;
  if (entry.settling) return;  // called from inside a granted() or paused(): the loop below goes on
  entry.settling = true;
  while (std::exchange(entry.again, false)) {
    promote_starved(entry);
    while (Place* const next = next_of(entry)) {
      if (entry.running.size() >= entry.limit) {
        Place* const victim = victim_for(entry, *next);
        if (victim == nullptr) break;
        pause(entry, *victim);
        if (next->state_ == Place::State::kNone || entry.running.size() >= entry.limit) continue;  // paused() changed something
      }
      start(entry, *next);
    }
  }
  entry.settling = false;
  if (watching_ > 0) tell_positions(entry);
}

void Admission::tell_positions(Entry& entry) {
  std::vector<Place*> order = entry.queue;
  std::ranges::sort(order, [this](const Place* a, const Place* b) { return goes_before(*a, *b); });
  size_t position = 0;
  for (Place* const place : order) {
    ++position;
    if (!place->wants_position_ || place->state_ != Place::State::kWaiting || place->position_ == position) continue;
    place->position_ = position;
    place->moved(position);
  }
}

}  // namespace inferd
