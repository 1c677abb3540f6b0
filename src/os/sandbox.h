// Closes the process that reads callers' text and model files: afterwards it computes, uses the descriptors that it has and starts
// threads; it opens no file, reaches no network, starts no program and gets no right back. What it still may do is in seccomp_filter.cc,
// what it must not in sandbox_attempts.cc. Called by the engine's main thread before any other thread is started, after the last dlopen.
//
// PR_SET_DUMPABLE is 0 afterwards: no core dump holds callers' text, and no other process of the same user reads this one's memory.
// So /proc/PID/fd, maps and the like are root's; status and stat stay readable for all.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace inferd::os {

enum class SandboxMode {
  kAuto,      // as much of it as the system has
  kRequired,  // all of it or an error
  kOff,
};

/// "auto", "required", "off". Any other word is kRequired: a slip must not open anything.
SandboxMode sandbox_mode(std::string_view name);

struct SandboxReport {
  int landlock_abi = 0;  // 0: without Landlock
  bool seccomp = false;
  std::string missing;  // what the system does not have and why, for a warning; empty: nothing is missing
};

/// Errors: another thread runs already (a defect); with kRequired what is missing. There is no way back, after an error neither.
Result<SandboxReport> enter_sandbox(SandboxMode mode);

}  // namespace inferd::os
