// One line on a terminal that is written over as things go on: what the daemon is doing, with a bar where a share is known.
#pragma once

#include <string>

#include "inferd/client.h"

namespace inferd::ctl {

/// What an event says, for a person: "loading model: checking file 43 % [####------]".
std::string describe(const client::StatusEvent& event, size_t width);

/// "[######------------------] 25 %"
std::string bar(double share);

/// Writes over its own line on standard error; nothing if that is no terminal.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine() { clear(); }
  void show(const std::string& text);
  void clear();

 private:
  bool terminal_;
  bool shown_ = false;
};

}  // namespace inferd::ctl
