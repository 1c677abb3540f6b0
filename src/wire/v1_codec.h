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

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"
#include "request/generate.h"

namespace inferd::wire::v1 {

/// A frame that is no request: the connection is closed after the reply.
struct DecodeFailure {
  std::string id;  // the request's, where one could be read; else empty
  std::string message;
};

std::variant<GenerateRequest, DecodeFailure> decode_request(std::string_view line);

/// What spec 01 §4 checks before admission; the connection stays open. Errors are kInvalidRequest.
Status validate(const GenerateRequest& request);

/// Writes what differs from the defaults, as published clients do. No LF.
void append_request(std::string& out, const GenerateRequest& request);

// Frames of the server, each with its LF. A frame of kMaxFrameBytes or more is refused with kFrameTooLarge and leaves `out` as it was
// (spec 01 §2.2).
Status append_token(std::string& out, std::string_view id, std::string_view content);
Status append_done(std::string& out, std::string_view id, std::string_view content, const Completion& completion,
                 std::string_view backend, std::string_view route);
void append_error(std::string& out, std::string_view id, Code code, std::string_view message);

struct Token {
  std::string id, content;
};
struct Done {
  std::string id, content;
  Completion completion;
  std::string backend, route;
};
struct Failure {
  std::string id;
  Error error;
};
struct StatusFrame {
  std::string id, status;
  std::optional<uint64_t> position = {};                              // with `queued`; 1 = next
  std::optional<uint64_t> prompt_tokens_done = {}, prompt_tokens = {};  // with `prefill`
};
void append_status(std::string& out, const StatusFrame& frame);
using Response = std::variant<Token, Done, Failure, StatusFrame>;

std::string_view stop_reason_name(StopReason reason);

/// True for the frames that end a request.
bool is_terminal(const Response& response);

/// What a client reads. Errors: not JSON, an unknown type or value, a missing field.
Result<Response> decode_response(std::string_view line);

}  // namespace inferd::wire::v1
