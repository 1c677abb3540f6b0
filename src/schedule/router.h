// Chooses the backend entry for a request: the first in the operator's order that is ready and whose breaker lets it through.
// I/O thread. Owns the breakers; the backends belong to daemon/.
#pragma once

#include <deque>
#include <vector>

#include "backend/backend.h"
#include "schedule/breaker.h"

namespace inferd {

class Router {
 public:
  struct Entry {
    Backend* backend;
    Breaker breaker;
  };

  /// Order is priority. Before the first request.
  void add(Backend* backend, Breaker breaker = Breaker()) { entries_.push_back({backend, std::move(breaker)}); }

  /// The best entry at or behind position `from` (fail-over goes on behind the one that failed); null if there is none.
  Entry* pick(Breaker::Time now, size_t from = 0);
  size_t position(const Entry* entry) const;
  std::deque<Entry>& entries() { return entries_; }

 private:
  std::deque<Entry> entries_;
};

}  // namespace inferd
