// A circuit breaker for one backend entry (spec 06 §3, README 25): three failures within a minute open it for half a minute; then
// one probe decides. Pure state; the caller gives the time.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>

namespace inferd {

class Breaker {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Options {
    size_t failures = 3;
    std::chrono::milliseconds window{60'000};
    std::chrono::milliseconds cool_down{30'000};
  };
  Breaker() : Breaker(Options{}) {}
  explicit Breaker(Options options) : options_(options) {}

  /// True if a request may be sent. After the cool-down only one at a time, until its outcome is known.
  bool allows(Time now) const;
  /// The caller sends a request that allows() let through.
  void sent(Time now);

  void succeeded();
  void failed(Time now);
  /// Ended without telling anything about the backend: cancelled, or the caller's own fault.
  void no_verdict() { probing_ = false; }

 private:
  Options options_;
  std::deque<Time> failures_;
  bool open_ = false;
  bool probing_ = false;
  Time opened_{};
};

}  // namespace inferd
