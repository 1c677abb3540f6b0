#include "schedule/router.h"

namespace inferd {

Router::Entry* Router::pick(Breaker::Time now, size_t from) {
  for (size_t i = from; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    if (entry.backend->ready() && entry.breaker.allows(now)) return &entry;
  }
  return nullptr;
}

size_t Router::position(const Entry* entry) const {
  size_t i = 0;
  while (i < entries_.size() && &entries_[i] != entry) ++i;
  return i;
}

}  // namespace inferd
