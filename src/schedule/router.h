// Chooses the backend entry for a request: the first in the operator's order that can do what it needs, is ready and whose breaker lets it through.
// I/O thread. Owns the breakers; the backends belong to daemon/.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "backend/backend.h"
#include "schedule/breaker.h"

namespace inferd {

/// What a request needs of a backend.
enum class Need : uint8_t { kText, kV2, kEmbed };

class Router {
 public:
  struct Entry {
    Backend* backend;
    Breaker breaker;
    bool can(Need need) const;
  };

  /// Order is priority. Before the first request.
  void add(Backend* backend, Breaker breaker = Breaker()) { entries_.push_back({backend, std::move(breaker)}); }

  /// The best entry at or behind position `from` (fail-over goes on behind the one that failed); null if there is none.
  Entry* pick(Need need, Breaker::Time now, size_t from = 0);
  /// Why pick() found none: none can do it at all, or those that can are not ready or shut off.
  Error why_none(Need need) const;
  size_t position(const Entry* entry) const;
  std::deque<Entry>& entries() { return entries_; }

 private:
  std::deque<Entry> entries_;
};

}  // namespace inferd
