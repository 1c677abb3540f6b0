// Admission: which requests run and which wait (spec README 9, doc/decisions/0007). Each backend entry runs at most its own number at
// once; a shared number more wait, at most half of these places for batch. Who is next: interactive before batch, then the caller that was
// served least (request/fair_share), then order of arrival. Where a backend can pause, a place also moves from a running request
// to a waiting one with a better claim. I/O thread; owns nothing of the requests.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "base/error.h"
#include "request/fair_share.h"
#include "request/generate.h"

namespace inferd {

class Admission {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// One request's place. granted(), paused() and moved() are called from inside another's enter(), leave() or tick(), never from inside
  /// its own enter(); they may leave or enter themselves.
  class Place {
   public:
    virtual ~Place() = default;
    bool running() const { return state_ == State::kRunning; }
    /// It has aged: it counts as interactive until it ends.
    bool promoted() const { return promoted_; }

   protected:
    virtual void granted() = 0;
    /// Another has its place for now; granted() follows when it is its turn again.
    virtual void paused() = 0;
    /// Its place in the queue, 1 = next. Only if it asked for that.
    virtual void moved(size_t position) = 0;

   private:
    friend class Admission;
    enum class State : uint8_t { kNone, kWaiting, kPaused, kRunning };
    State state_ = State::kNone;
    bool batch_ = false, promoted_ = false, wants_position_ = false;
    const void* entry_ = nullptr;
    Flow flow_{};
    uint64_t arrival_ = 0;
    size_t position_ = 0;  // last told
  };

  struct Asked {
    Priority priority = Priority::kInteractive;
    Flow flow{};
    bool wants_position = false;
  };

  explicit Admission(size_t waiting_places, std::function<Time()> clock = &std::chrono::steady_clock::now)
      : waiting_places_(waiting_places), clock_(std::move(clock)) {}

  /// From now on; whoever waits already keeps its place.
  void set_waiting_places(size_t places) { waiting_places_ = places; }

  /// The number of requests that `entry` runs at once, and whether it can pause them. Before its first request.
  void set_limit(const void* entry, size_t limit, bool can_pause);

  /// Takes a running place, else a waiting one, else fails with kQueueFull. Does not call granted() of `place`.
  Status enter(const void* entry, const Asked& asked, Place& place);
  /// Gives the place back, if there is one, and grants what became free.
  void leave(Place& place);
  /// `tokens` were computed for it: its caller's share.
  void charge(const Place& place, uint64_t tokens);
  /// To be called about every second while batch_waits(): lets batch requests age.
  void tick();

  bool batch_waits() const { return waiting_batch_ > 0 || paused_batch_ > 0; }
  size_t waiting() const { return waiting_; }

 private:
  struct Entry {
    size_t limit = 1;
    bool can_pause = false;
    std::vector<Place*> running;  // in the order of their grants
    std::vector<Place*> queue;    // waiting and paused, in order of arrival
    Time batch_served{};          // when a batch request last got something
    bool settling = false, again = false;
  };
  static bool is_batch(const Place& place) { return place.batch_ && !place.promoted_; }
  bool goes_before(const Place& a, const Place& b) const;
  Place* next_of(const Entry& entry) const;
  Place* victim_for(const Entry& entry, const Place& waiting) const;
  void settle(Entry& entry);
  void start(Entry& entry, Place& place);
  void pause(Entry& entry, Place& place);
  void promote_starved(Entry& entry);
  void tell_positions(Entry& entry);
  void count(const Place& place, int change);

  size_t waiting_places_;
  const std::function<Time()> clock_;
  size_t waiting_ = 0, waiting_batch_ = 0, paused_batch_ = 0, watching_ = 0;
  uint64_t arrivals_ = 0;
  FairShare share_;
  std::map<const void*, Entry> entries_;
};

}  // namespace inferd
