// A request for text and its outcome, independent of the wire that it came on. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "request/flow.h"

namespace inferd {

enum class Role { kSystem, kUser, kAssistant };
enum class Priority { kInteractive, kBatch, kUnknown };  // kUnknown: a text that is neither; refused by validation

struct Message {
  Role role = Role::kUser;
  std::string content;
};

/// Defaults are those of the wire (spec 01 §3).
struct Sampling {
  double temperature = 1.0;      // <= 0: greedy
  double top_p = 0.95;           // >= 1: off
  uint32_t top_k = 64;           // 0: off
  std::optional<uint32_t> seed;  // absent: random
};

struct GenerateRequest {
  std::string id;  // the client's; may be empty, need not be unique
  std::vector<Message> messages;
  Sampling sampling;
  uint32_t max_tokens = 1000;  // 0 is legal: prefill only
  bool stream = true;
  std::optional<uint32_t> image_token_budget;
  std::string grammar;            // GBNF with start rule `root`; empty: unconstrained
  std::vector<std::string> stop;  // the answer ends before the first of these
  Priority priority = Priority::kInteractive;
  bool local_only = false;  // never leaves this machine
  bool progress = false;    // status frames while it waits and while its prompt is computed
  Flow flow{};              // who asks; set by the session, never read from the wire
};

enum class StopReason { kEnd, kLength, kCancelled, kError };

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t cached_prompt_tokens = 0;  // of prompt_tokens: reused, not computed again
};

/// How a request ended that did not fail.
struct Completion {
  StopReason stop_reason = StopReason::kEnd;
  Usage usage;
};

}  // namespace inferd
