#include "schedule/breaker.h"

namespace inferd {

bool Breaker::allows(Time now) const {
  if (!open_) return true;
  return !probing_ && now - opened_ >= options_.cool_down;
}

void Breaker::sent(Time) {
  if (open_) probing_ = true;
}

void Breaker::succeeded() {
  open_ = probing_ = false;
  failures_.clear();
}

void Breaker::failed(Time now) {
  if (probing_) {
    probing_ = false;
    opened_ = now;
    return;
  }
  if (open_) return;  // was in flight when it opened: tells nothing new
  while (!failures_.empty() && now - failures_.front() >= options_.window) failures_.pop_front();
  failures_.push_back(now);
  if (failures_.size() < options_.failures) return;
  open_ = true;
  opened_ = now;
  failures_.clear();
}

}  // namespace inferd
