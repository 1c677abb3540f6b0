// What the machine and its limits are. Any thread.
#pragma once

#include <cstddef>

namespace inferd::os {

/// CPUs that this process may use: its affinity mask and its cgroup's quota (rounded up), at least 1.
size_t usable_cpus();

/// Raises the soft limit of open descriptors to the hard one.
void raise_descriptor_limit();

/// Gives memory that free() keeps back to the system.
void trim_memory();

}  // namespace inferd::os
