#include "session/log_fields.h"

namespace inferd {

using Time = std::chrono::steady_clock::time_point;

ActivityLog::Value milliseconds(Time from, Time to) {
  if (to == Time()) return {};
  return int64_t{std::chrono::duration_cast<std::chrono::milliseconds>(to - from).count()};
}

ActivityLog::Value if_known(int64_t id) {
  if (id < 0) return {};
  return id;
}

ActivityLog::Value wire_version(const SessionKind& kind) {
  if (kind.prefix.empty()) return {};
  return kind.name;
}

}  // namespace inferd
