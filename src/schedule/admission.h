// Admission: which requests run and which wait (spec README 9). Each backend entry runs at most its own number at once; a shared
// number more wait, at most half of these places for batch; order of arrival holds within an entry. I/O thread; owns nothing of
// the requests.
#pragma once

#include <cstddef>
#include <list>
#include <map>

#include "base/error.h"
#include "request/generate.h"

namespace inferd {

class Admission {
 public:
  /// One request's place. granted() is called from inside another's leave(), when a waiting request may run.
  class Place {
   public:
    virtual ~Place() = default;
    bool running() const { return state_ == State::kRunning; }

   protected:
    virtual void granted() = 0;

   private:
    friend class Admission;
    enum class State { kNone, kWaiting, kRunning };
    State state_ = State::kNone;
    bool batch_ = false;
    const void* entry_ = nullptr;
    std::list<Place*>::iterator at_;
  };

  explicit Admission(size_t waiting_places) : waiting_places_(waiting_places) {}

  /// The number of requests that `entry` runs at once. Before its first request.
  void set_limit(const void* entry, size_t limit) { entries_[entry].limit = limit; }

  /// Takes a running place, else a waiting one, else fails with kQueueFull. Does not call granted().
  Status enter(const void* entry, Priority priority, Place& place);
  /// Gives the place back, if there is one, and grants a freed running place to who waited longest.
  void leave(Place& place);

  size_t waiting() const { return waiting_; }

 private:
  struct Entry {
    size_t limit = 1;
    size_t running = 0;
    std::list<Place*> queue;
  };
  const size_t waiting_places_;
  size_t waiting_ = 0, waiting_batch_ = 0;
  std::map<const void*, Entry> entries_;
};

}  // namespace inferd
