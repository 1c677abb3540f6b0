// Ctrl-C while the store works: sets the flag that its calls look at, so that what is there stays whole. A second one ends the program at
// once. Main thread; owns the flag. One at a time.
#pragma once

#include <atomic>

#include "ctl/commands.h"
#include "os/system.h"
#include "os/terminal.h"

namespace inferd::ctl {

class StopOnInterrupt {
 public:
  StopOnInterrupt()
      : handler_([this] {
          if (stopped_.exchange(true)) os::exit_now(kInterrupted);
        }) {}
  const std::atomic<bool>& stopped() const { return stopped_; }

 private:
  std::atomic<bool> stopped_{false};
  os::InterruptHandler handler_;
};

}  // namespace inferd::ctl
