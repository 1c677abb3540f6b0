// inferd-engine --sandbox-probe: enters the sandbox as the engine does, tries every way out and whatever must go on working, and writes
// a line about each:
//
//   refused  socket AF_INET (Operation not permitted)        ALLOWED  stat           ALLOWED  mount (No such device)
//   works    threads                                         BROKEN   threads
//
// An error besides ALLOWED: the sandbox let the call through, and the kernel found something else wrong with it.
#pragma once

#include "os/sandbox.h"

namespace inferd::os {

/// The program's exit code: 0 if everything was refused and everything works. Called before any thread is started; forks, so that what
/// it makes in /tmp can be removed, and so that there is a parent to attack.
int run_sandbox_probe(SandboxMode mode);

}  // namespace inferd::os
