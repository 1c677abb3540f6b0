// What the machine and its limits are. Any thread.
#pragma once

#include <cstddef>

namespace inferd::os {

/// CPUs that this process may use: its affinity mask and its cgroup's quota (rounded up), at least 1.
size_t usable_cpus();

/// For a daemon's start, before any thread: a closed peer is an error and no signal; files and folders that it makes are its own,
/// whatever the umask was.
void prepare_process();

/// Ends the process at once, past every destructor.
[[noreturn]] void exit_now(int code);

/// Raises the soft limit of open descriptors to the hard one.
void raise_descriptor_limit();

/// Gives memory that free() keeps back to the system.
void trim_memory();

}  // namespace inferd::os
