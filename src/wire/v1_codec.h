// The v1 wire (text chat, NDJSON; spec 01): requests and response frames, each read and written. Pure functions; any thread.
//
//   client -> server   {"id","messages":[{"role","content"}],"temperature","top_p","top_k","max_tokens","stream",
//                       "image_token_budget","grammar","seed","stop","priority","local_only","progress"}
//   server -> client   {"type":"token","id","content"} ...
//                      {"type":"done","id","content","usage":{"prompt_tokens","completion_tokens","cached_prompt_tokens"},
//                       "stop_reason","backend","route"}
//                      {"type":"error","id","code","message"}
//                      {"type":"status","id","status":"queued","position"}                      only with "progress"
//                      {"type":"status","id","status":"prefill","prompt_tokens_done","prompt_tokens"}
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"
#include "request/generate.h"
#include "wire/decode_failure.h"
#include "wire/reply_frames.h"

namespace inferd::wire::v1 {

/// A message gets one TextBlock; sampling and max_tokens get the wire's defaults where they are absent (spec 01 §3).
std::variant<GenerateRequest, DecodeFailure> decode_request(std::string_view line);

/// What spec 01 §4 checks before admission; the connection stays open. Errors are kInvalidRequest.
Status validate(const GenerateRequest& request);

/// Writes what differs from the defaults, as published clients do; of a message its text alone. No LF.
void append_request(std::string& out, const GenerateRequest& request);

// Frames of the server, each with its LF. A frame of kMaxFrameBytes or more is refused with kFrameTooLarge and leaves `out` as it was
// (spec 01 §2.2).
Status append_token(std::string& out, std::string_view id, std::string_view content);
Status append_done(std::string& out, std::string_view id, std::string_view content, const Completion& completion,
                 std::string_view backend, std::string_view route);
using wire::append_error;
using wire::append_status;

struct Token {
  std::string id, content;
};
struct Done {
  std::string id, content;
  Completion completion;
  std::string backend, route;
};
using wire::Failure;
using wire::StatusFrame;
using Response = std::variant<Token, Done, Failure, StatusFrame>;

/// `end` also for what only v2 can say: a stop string, a tool call.
std::string_view stop_reason_name(StopReason reason);

/// True for the frames that end a request.
bool is_terminal(const Response& response);

/// What a client reads. Errors: not JSON, an unknown type or value, a missing field.
Result<Response> decode_response(std::string_view line);

}  // namespace inferd::wire::v1
