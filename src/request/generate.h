// A request for text and its outcome, independent of the wire that it came on. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "request/content.h"
#include "request/flow.h"

namespace inferd {

enum class Role : uint8_t { kSystem, kUser, kAssistant };
enum class Priority : uint8_t { kInteractive, kBatch, kUnknown };  // kUnknown: a text that is neither; refused by validation
/// What the request came on: kV2 answers in typed pieces and lets the model think; kV1 answers in plain text.
enum class Surface : uint8_t { kV1, kV2 };

struct Message {
  Role role = Role::kUser;
  std::vector<Block> content;  // v1: one TextBlock
};

inline Message text_message(Role role, std::string text) { return {role, {Block{TextBlock{std::move(text)}}}}; }

// What is absent has the backend's own default; these are those of v1, mock and llamacpp (spec 01 §3, 08 §3.6).
inline constexpr double kDefaultTemperature = 1.0, kDefaultTopP = 0.95;
inline constexpr uint32_t kDefaultTopK = 64, kDefaultMaxTokens = 1000;

struct Sampling {
  std::optional<double> temperature;  // <= 0: greedy
  std::optional<double> top_p;        // >= 1: off
  std::optional<uint32_t> top_k;      // 0: off
  std::optional<uint32_t> seed;       // absent: random
};

struct GenerateRequest {
  Surface surface = Surface::kV1;
  std::string id;  // the client's; may be empty, need not be unique
  std::vector<Message> messages;
  Sampling sampling;
  std::optional<uint32_t> max_tokens;  // 0 is legal: prefill only
  bool stream = true;
  std::optional<uint32_t> image_token_budget;
  std::string grammar;            // GBNF with start rule `root`; empty: unconstrained
  std::vector<Attachment> attachments;     // v2
  std::vector<Tool> tools;                 // v2
  std::optional<ToolChoice> tool_choice;   // v2; absent: auto
  std::optional<std::string> json_schema;  // v2: response_format; JSON text that the answer has to conform to
  std::vector<std::string> stop;  // the answer ends before the first of these
  Priority priority = Priority::kInteractive;
  bool local_only = false;  // never leaves this machine
  bool progress = false;    // status frames while it waits and while its prompt is computed
  Flow flow{};              // who asks; set by the session, never read from the wire
};

enum class StopReason : uint8_t { kEnd, kLength, kToolUse, kStopSequence, kCancelled, kError };  // v1 knows kToolUse not, and kStopSequence as kEnd

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t cached_prompt_tokens = 0;  // of prompt_tokens: reused, not computed again
};

/// A part of the answer, in the order of the answer. Text and thinking come in deltas of whole UTF-8 characters, a call is complete.
struct Piece {
  enum class Kind : uint8_t { kText, kThinking, kToolCall };
  Kind kind = Kind::kText;
  std::string text = {};  // kText, kThinking
  ToolCall call = {};     // kToolCall
};

/// How a request ended that did not fail.
struct Completion {
  StopReason stop_reason = StopReason::kEnd;
  Usage usage;
  bool tool_choice_unsatisfied = false;  // a call was required and the budget ended first
};

}  // namespace inferd
