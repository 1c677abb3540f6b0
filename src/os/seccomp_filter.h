// The system calls that the engine may make once its sandbox is closed: the list is in the .cc, everything else is EPERM.
// Called by enter_sandbox(). Holds for all threads of the process, for good.
#pragma once

#include "base/error.h"

namespace inferd::os {

/// An error is the reason why there is no filter.
Status load_seccomp_filter();

}  // namespace inferd::os
