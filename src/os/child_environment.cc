#include "os/child_environment.h"

#include <algorithm>
#include <cstdlib>

namespace inferd::os {

std::vector<std::string> child_environment(const std::vector<std::string>& added) {
  std::vector<std::string> environment;
  for (const char* name : {"LD_LIBRARY_PATH", "GLIBC_TUNABLES", "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"}) {
    if (const char* value = ::getenv(name); value != nullptr) environment.push_back(std::string(name) + "=" + value);
  }
  for (const std::string& entry : added) {
    const std::string name = entry.substr(0, entry.find('='));
    const bool set = std::ranges::any_of(environment, [&](const std::string& other) { return other.starts_with(name + "="); });
    if (!set) environment.push_back(entry);
  }
  return environment;
}

std::vector<char*> to_pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace inferd::os
