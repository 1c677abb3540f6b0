// What the daemon would refuse to start with, beyond what the reading and merging of the configuration find: rules for options, and for
// what came out of the merge. Called at the start and by --check-config. Reads key files and the user database: blocks; any thread.
#pragma once

#include "base/error.h"
#include "config/effective.h"
#include "config/options.h"

namespace inferd {

/// Before the config file is opened (load_effective does it): what this build cannot serve, whatever the file says.
Status check_options(const DaemonOptions& options);

/// After the merge: entries of kinds that this build has not, keys, a TCP address that needs one, --group, access lists. Errors name the
/// option, or the file and its field.
Status check_effective(const Effective& effective);

}  // namespace inferd
