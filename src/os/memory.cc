#include "os/memory.h"

#include <charconv>
#include <fstream>
#include <iterator>

namespace inferd::os {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> read_file(const fs::path& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The rest of the text is what follows the line.
std::string_view take_line(std::string_view& text) {
  const size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

// The number that `text` begins with, spaces before it skipped.
std::optional<uint64_t> leading_number(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + first, text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) return UINT64_MAX;
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

// How a hierarchy names its files.
struct Hierarchy {
  const char* usage;
  const char* limits[2];  // memory.high: above it the kernel throttles the group until it is all but stopped
};
constexpr Hierarchy kUnified{"memory.current", {"memory.max", "memory.high"}};
constexpr Hierarchy kV1{"memory.usage_in_bytes", {"memory.limit_in_bytes", nullptr}};

// Lowers `least` to what the group and those above it leave. Groups that are not mounted here (a container sees only its own, at the
// root) say nothing.
void look_at(const fs::path& root, std::string group, const Hierarchy& hierarchy, MemoryAvailable& least) {
  while (group.ends_with('/')) group.pop_back();
  for (;; group.resize(group.rfind('/'))) {
    const fs::path folder = root / group.substr(group.empty() ? 0 : 1);
    const auto usage = parse_bytes(read_file(folder / hierarchy.usage).value_or(""));
    for (const char* name : hierarchy.limits) {
      if (name == nullptr || !usage) continue;
      const auto limit = parse_bytes(read_file(folder / name).value_or(""));
      if (!limit) continue;
      const uint64_t cache = parse_file_cache(read_file(folder / "memory.stat").value_or(""));
      const uint64_t held = *usage > cache ? *usage - cache : 0;
      const uint64_t left = *limit > held ? *limit - held : 0;
      if (left < least.bytes) least = {left, "cgroup " + (group.empty() ? "/" : group) + " " + name};
    }
    if (group.empty() || group.rfind('/') == std::string::npos) return;
  }
}

}  // namespace

std::optional<uint64_t> parse_mem_available(std::string_view meminfo) {
  constexpr std::string_view kName = "MemAvailable:";
  while (!meminfo.empty()) {
    const std::string_view line = take_line(meminfo);
    if (!line.starts_with(kName)) continue;
    const auto kib = leading_number(line.substr(kName.size()));
    if (!kib || *kib > UINT64_MAX / 1024) return std::nullopt;
    return *kib * 1024;
  }
  return std::nullopt;
}

std::optional<uint64_t> parse_bytes(std::string_view text) { return leading_number(text); }

uint64_t parse_file_cache(std::string_view memory_stat) {
  uint64_t own = 0, with_those_below = 0;
  while (!memory_stat.empty()) {
    const std::string_view line = take_line(memory_stat);
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, space);
    const uint64_t value = leading_number(line.substr(space)).value_or(0);
    if (name == "inactive_file" || name == "active_file") own += value;
    if (name == "total_inactive_file" || name == "total_active_file") with_those_below += value;
  }
  return with_those_below > 0 ? with_those_below : own;
}

CgroupPaths parse_cgroups(std::string_view cgroup) {
  CgroupPaths paths;
  while (!cgroup.empty()) {  // "4:memory,hugetlb:/path", unified "0::/path"
    const std::string_view line = take_line(cgroup);
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string controllers = "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    const std::string path(line.substr(second + 1));
    if (!path.starts_with('/')) continue;
    if (line.starts_with("0::")) paths.unified = path;
    if (controllers.find(",memory,") != std::string::npos) paths.memory = path;
  }
  return paths;
}

MemoryAvailable available_memory(const fs::path& proc, const fs::path& cgroups) {
  MemoryAvailable least{UINT64_MAX, "nothing that can be read"};
  if (const auto free = parse_mem_available(read_file(proc / "meminfo").value_or(""))) least = {*free, "free memory"};
  const CgroupPaths paths = parse_cgroups(read_file(proc / "self/cgroup").value_or(""));
  if (paths.unified) {
    look_at(cgroups, *paths.unified, kUnified, least);
    look_at(cgroups / "unified", *paths.unified, kUnified, least);  // where v1 and v2 are mounted side by side
  }
  if (paths.memory) look_at(cgroups / "memory", *paths.memory, kV1, least);
  return least;
}

}  // namespace inferd::os
