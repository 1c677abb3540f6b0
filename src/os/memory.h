// How much memory this process may still take: what the machine has free, and what its cgroups leave it. Any thread.
// Reads /proc and /sys/fs/cgroup, so a sandboxed process asks before it loses the right to open files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace inferd::os {

struct MemoryAvailable {
  uint64_t bytes = 0;
  std::string limited_by;  // "free memory", or "cgroup /path memory.max": what has to grow for `bytes` to grow
};

/// The least of MemAvailable and, for the process's cgroup and each above it, its limit minus what is in use; caches of files count as
/// free, since the kernel drops them first. UINT64_MAX where nothing can be read. `proc` and `cgroups` are where the kernel's files are.
MemoryAvailable available_memory(const std::filesystem::path& proc = "/proc", const std::filesystem::path& cgroups = "/sys/fs/cgroup");

// What the files say (proc(5), cgroups(7), the kernel's cgroup-v2 and cgroup-v1/memory documents). Pure.

/// MemAvailable of /proc/meminfo, in bytes.
std::optional<uint64_t> parse_mem_available(std::string_view meminfo);

/// A file of one number; nothing for "max" or anything else.
std::optional<uint64_t> parse_bytes(std::string_view text);

/// Active and inactive cache of files in memory.stat, in bytes. v1 has them for a group alone and, as "total_...", with those below it.
uint64_t parse_file_cache(std::string_view memory_stat);

/// Where the process stands in /proc/PID/cgroup: in the unified hierarchy and in that of v1's memory controller.
struct CgroupPaths {
  std::optional<std::string> unified;
  std::optional<std::string> memory;
};
CgroupPaths parse_cgroups(std::string_view cgroup);

}  // namespace inferd::os
