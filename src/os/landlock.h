// Landlock with a ruleset that has no rule: of what the running kernel can refuse by it, nothing is left. Files that are open stay usable.
// Called by enter_sandbox(); inferdctl asks for the version. Holds for the calling thread and those that it starts, for good.
#pragma once

#include "base/error.h"

namespace inferd::os {

/// The version of Landlock that the kernel speaks; nothing is entered. An error is the reason why there is none.
Result<int> landlock_version();

/// Enters it and says its version. PR_SET_NO_NEW_PRIVS has to be set. An error is the reason why there is none.
Result<int> enter_landlock();

}  // namespace inferd::os
