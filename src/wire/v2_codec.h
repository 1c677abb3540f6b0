// The v2 wire (typed blocks, attachments, tools; spec 02): requests and response frames, each read and written. Pure functions; any thread.
//
//   client -> server   {"id","messages":[{"role","content":[BLOCK...]}],"attachments":[...],"tools":[{"name","description","input_schema"}],
//                       "temperature","top_p","top_k","max_tokens","stream",
//                       "seed","stop","priority","local_only","progress","tool_choice","response_format":{"type":"json_schema","schema"}}
//     BLOCK            {"type":"text","text"}   {"type":"image"|"audio"|"video","attachment_id"}
//                      {"type":"tool_use","tool_call_id","name","input"}   {"type":"tool_result","tool_call_id","content":[BLOCK...]}
//     attachment       {"kind":"image","id","width","height","bytes"}   {"kind":"audio","id","sample_rate","bytes"}
//                      {"kind":"video","id","bytes"}
//     tool_choice      "auto" | "none" | "required" | {"type":"tool","name"}
//   server -> client   {"type":"frame","id","block":{"type":"text"|"thinking","delta"}} ...
//                      {"type":"frame","id","block":{"type":"tool_use","tool_call_id","name","input"}} ...
//                      {"type":"done","id","usage":{"input_tokens","output_tokens","cached_input_tokens"},"stop_reason","backend","route",
//                       "tool_choice_unsatisfied":true}                                          the last only if it is so
//                      error and status frames: see reply_frames.h
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"
#include "request/generate.h"
#include "wire/decode_failure.h"
#include "wire/reply_frames.h"

namespace inferd::wire::v2 {

/// What is absent stays absent: backends have their own defaults.
std::variant<GenerateRequest, DecodeFailure> decode_request(std::string_view line);

/// What spec 02 §3 checks before admission, in its order, then the additive fields; the connection stays open. Errors are kInvalidRequest.
Status validate(const GenerateRequest& request);

/// Leaves out what is absent or empty, as published clients do. No LF.
void append_request(std::string& out, const GenerateRequest& request);

// Frames of the server, each with its LF. A frame of kMaxFrameBytes or more is refused with kFrameTooLarge and leaves `out` as it was
// (spec 01 §2.2).
Status append_piece(std::string& out, std::string_view id, const Piece& piece);
Status append_done(std::string& out, std::string_view id, const Completion& completion, std::string_view backend, std::string_view route);
using wire::append_error;
using wire::append_status;

struct Frame {
  std::string id;
  Piece piece;
};
struct Done {
  std::string id;
  Completion completion;
  std::string backend, route;
};
using wire::Failure;
using wire::StatusFrame;
using Response = std::variant<Frame, Done, Failure, StatusFrame>;

std::string_view stop_reason_name(StopReason reason);

/// True for the frames that end a request.
bool is_terminal(const Response& response);

/// What a client reads. Errors: not JSON, an unknown type or value, a missing field.
Result<Response> decode_response(std::string_view line);

}  // namespace inferd::wire::v2
