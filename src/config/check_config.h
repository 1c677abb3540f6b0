// `inferd-daemon --check-config`: reads and merges everything that a start would, and prints it. Called by the program, instead of the
// daemon; starts nothing and writes nothing.
#pragma once

#include "config/options.h"

namespace inferd {

/// Prints the effective configuration to standard output, or what is wrong to standard error. The exit code: 0, or 1 if the daemon would
/// not start with it.
int check_config(const DaemonOptions& options);

}  // namespace inferd
