// One event of the daemon's life as the admin socket tells it (spec 04). Plain data.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>

#include "request/capabilities.h"

namespace inferd {

/// What is being done while the status is loading_model or restarting. `fields` are written next to `phase`, nothing is nested.
struct Phase {
  using Value = std::variant<std::string, uint64_t, std::nullptr_t>;
  std::string name;                     // checking_local, verify, mmap, kv_cache, ...
  std::map<std::string, Value> fields;  // sorted, as the wire wants them
};

struct StatusEvent {
  enum class State { kStarting, kLoadingModel, kReady, kRestarting, kDraining, kError };
  State state = State::kStarting;
  std::optional<Phase> phase;  // with kLoadingModel and kRestarting
  std::string reason;          // with kError
  std::string warning{};       // set by the EventBus: what is wrong beside the state, with any of them; empty: nothing
};

}  // namespace inferd
