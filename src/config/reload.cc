#include "config/reload.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "config/config_table.h"

namespace inferd {
namespace {

constexpr std::string_view kDefaultLogFilter = "info";

bool changes_at_once(std::string_view path) { return path == "limits" || path == "log_filter"; }

// Collects the paths of what differs between two owners of one form.
class Comparison {
 public:
  void fields(const ConfigObject& object, const void* running, const void* fresh, const std::string& path);
  void backends(const std::vector<BackendEntry>& running, const std::vector<BackendEntry>& fresh);
  std::vector<std::string> take() { return std::move(different_); }

 private:
  std::vector<std::string> different_;
};

void Comparison::fields(const ConfigObject& object, const void* running, const void* fresh, const std::string& path) {
  for (const ConfigField& field : object.fields) {
    const std::string at = path_of_member(path, field.name);
    const Binding& binding = field.binding;
    if (field.legacy || changes_at_once(at) || binding.type == FieldType::kEntries) continue;
    if (binding.type != FieldType::kObject) {
      if (binding.get(running) != binding.get(fresh)) different_.push_back(at);
      continue;
    }
    const void* was = binding.find(running);
    const void* is = binding.find(fresh);
    if (was != nullptr && is != nullptr) {
      fields(*field.object, was, is, at);
    } else if (was != is) {
      different_.push_back(at);
    }
  }
}

void Comparison::backends(const std::vector<BackendEntry>& running, const std::vector<BackendEntry>& fresh) {
  for (size_t i = 0; i < std::max(running.size(), fresh.size()); ++i) {
    const std::string at = path_of_element("backends", i);
    if (i >= running.size() || i >= fresh.size() || running[i].index() != fresh[i].index()) {
      different_.push_back(at);
    } else if (const ConfigObject* object = object_of(running[i])) {
      fields(*object, address_of(running[i]), address_of(fresh[i]), at);
    }
  }
}

}  // namespace

ReloadPlan compare(const Effective& running, const Effective& fresh) {
  Comparison comparison;
  comparison.fields(config_root(), &running.config, &fresh.config, "");
  comparison.backends(running.config.backends, fresh.config.backends);
  return {.limits = fresh.config.limits,
          .log_filter = fresh.config.log_filter.value_or(std::string(kDefaultLogFilter)),
          .needs_restart = comparison.take()};
}

}  // namespace inferd
