// Turns between processes that share CPUs: one at a time, and who has just had its turn does not come in before one that waits. Two pools of
// threads that meet at barriers ruin each other on the same cores. The page with the locks is made by the daemon and handed to each engine.
// One thread of a process. A process can spoil the page for the others: doc/decisions/0009.
#pragma once

#include <memory>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

class Turnstile {
 public:
  /// A new one, as shared memory for join().
  static Result<UniqueFd> make();
  /// Maps it; the descriptor is not needed any more.
  static Result<std::unique_ptr<Turnstile>> join(int fd);
  ~Turnstile();
  Turnstile(const Turnstile&) = delete;
  Turnstile& operator=(const Turnstile&) = delete;

  /// Waits for its turn. A process that died in its turn has given it back; one that keeps it for a second is passed by, since that only costs
  /// time: a stopped engine must not stop the others.
  void enter();
  void leave();

 private:
  struct Page;
  explicit Turnstile(Page* page) : page_(page) {}
  Page* page_;
  bool has_turn_ = false;
};

}  // namespace inferd::os
