// The daemon: builds every part in the order of the bring-up (spec 06 §1, README 15-18), owns them all, serves, drains.
// One object, used by the program's main thread, which becomes the I/O thread.
#pragma once

#include <memory>

#include "config/options.h"

namespace inferd {

/// Runs until a signal or a failed start. The exit code: 0 after a graceful stop, 1 after a failed start.
int run_daemon(DaemonOptions options);

}  // namespace inferd
