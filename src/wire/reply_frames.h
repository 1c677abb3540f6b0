// What the frames of the server have in common on v1, v2 and embed: error and status frames, their usage, how one begins and ends.
// Called by the codecs and, through their names, by sessions and clients. Pure functions; any thread.
//
//   {"type":"error","id","code","message"}
//   {"type":"status","id","status":"queued","position"}                             v1 and v2, only with "progress"
//   {"type":"status","id","status":"prefill","prompt_tokens_done","prompt_tokens"}
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "request/generate.h"
#include "wire/json_fields.h"

namespace inferd::wire {

struct Failure {
  std::string id;
  Error error;
};
struct StatusFrame {
  std::string id, status;
  std::optional<uint64_t> position = {};                                // with `queued`; 1 = next
  std::optional<uint64_t> prompt_tokens_done = {}, prompt_tokens = {};  // with `prefill`
};

// Each with its LF.
void append_error(std::string& out, std::string_view id, Code code, std::string_view message);
void append_status(std::string& out, const StatusFrame& frame);
/// The reply to a line beyond kMaxFrameBytes.
void append_frame_too_large(std::string& out);

// For the codecs.

/// Ends the frame that begins at `begin` with its brace and LF. One of kMaxFrameBytes or more is refused with kFrameTooLarge and taken
/// out again (spec 01 §2.2).
Status end_frame(std::string& out, size_t begin);

namespace reply_field {
enum : size_t {
  kType, kId, kCode, kMessage, kErrorCount,
  kUsage = kErrorCount, kStopReason, kBackend, kRoute, kStatus, kPosition, kPromptTokensDone, kPromptTokens, kCount,
};
inline constexpr std::array<std::string_view, kErrorCount> kErrorNames = {"type", "id", "code", "message"};
inline constexpr auto kNames =
    field_names(kErrorNames, std::array<std::string_view, kCount - kErrorCount>{"usage", "stop_reason", "backend", "route", "status",
                                                                                "position", "prompt_tokens_done", "prompt_tokens"});
}  // namespace reply_field

/// A frame of which `type` and `id` were read. `fields` refers to the document.
struct OpenReply {
  JsonFields fields;
  std::string type, id;
};
/// `known` begins with reply_field::kErrorNames.
Result<OpenReply> open_reply(const JsonDocument& document, std::span<const std::string_view> known);
Result<Failure> read_failure(OpenReply& reply);
/// Needs reply_field::kNames.
Result<StatusFrame> read_status(OpenReply& reply);

/// What a wire calls the prompt's, the answer's and the reused tokens.
using UsageNames = std::array<std::string_view, 3>;
/// `"usage":{...}`, the key included.
void append_usage(std::string& out, const UsageNames& names, const Usage& usage);
/// Needs reply_field::kNames. The third may be absent, as published daemons have it.
Result<Usage> read_usage(const OpenReply& reply, const UsageNames& names);

}  // namespace inferd::wire
