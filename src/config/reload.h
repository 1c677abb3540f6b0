// What SIGHUP changes in a running daemon, and what has to wait for its next start. Called by the daemon with the configuration that it
// runs by and the one that it has just read again; the contents of key files are its own matter (keys.h). Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "config/effective.h"

namespace inferd {

struct ReloadPlan {
  /// From now on; what the command line or the environment says is in them. ready_timeout_secs is for the next start.
  LimitSettings limits;
  std::string log_filter;  // as log::Filter::parse takes it
  /// JSON paths of settings that differ and stay as they are until the daemon is started again, in the order of the file: "verify",
  /// "backends[0].n_ctx"; of an object or entry that is there in one of the two only, or has another kind, its own: "backends[2]".
  std::vector<std::string> needs_restart;
};

/// Both come from load_effective() with the same options.
ReloadPlan compare(const Effective& running, const Effective& fresh);

}  // namespace inferd
