#include "session/v2_session.h"

#include "session/log_fields.h"
#include "wire/v2_codec.h"

namespace inferd {
namespace {

constexpr GenerateSession::Wire kWire = {&wire::v2::decode_request, &wire::v2::validate};

// The names of 06 §7.2.
std::string_view log_name(StopReason reason) {
  switch (reason) {
    case StopReason::kEnd: return "EndTurn";
    case StopReason::kLength: return "MaxTokens";
    case StopReason::kToolUse: return "ToolUse";
    case StopReason::kStopSequence: return "StopSequence";
    case StopReason::kCancelled: return "Cancelled";
    case StopReason::kError: return "Error";
  }
  return "Error";
}

}  // namespace

const SessionKind V2Session::kKind = {"v2", "v2_", [](Connection& connection, SessionContext& context) -> std::unique_ptr<Session> {
                                        return std::make_unique<V2Session>(connection, context);
                                      }};

V2Session::V2Session(Connection& connection, SessionContext& context) : GenerateSession(connection, context, kKind, kWire) {}

void V2Session::write_piece(const Piece& piece) {
  if (request().stream) {
    if (wire::v2::append_piece(connection().output(), request().id, piece)) connection().flush_soon();  // a larger one is no piece of ours
    return;
  }
  const bool goes_on = !blocks_.empty() && blocks_.back().kind == piece.kind && piece.kind != Piece::Kind::kToolCall;
  if (goes_on) {
    blocks_.back().text += piece.text;
  } else {
    blocks_.push_back(piece);
  }
}

Status V2Session::write_done(const Completion& completion, const Backend& backend) {
  for (const Piece& block : blocks_) {
    if (auto written = wire::v2::append_piece(connection().output(), request().id, block); !written) return written;
  }
  return wire::v2::append_done(connection().output(), request().id, completion, backend.kind(), backend.name());
}

void V2Session::log_done(const Done& done) {
  const Caller& caller = connection().caller();
  const Usage& usage = done.completion.usage;
  context().log.event(log::Level::kInfo, "v2_request_done",
                      {{"backend", done.backend.kind()},
                       {"cached_input_tokens", int64_t{usage.cached_prompt_tokens}},
                       {"duration_ms", done.duration_ms},
                       {"first_token_ms", done.first_token_ms},
                       {"input_tokens", int64_t{usage.prompt_tokens}},
                       {"n_attachments", static_cast<int64_t>(request().attachments.size())},
                       {"n_tools", static_cast<int64_t>(request().tools.size())},
                       {"output_tokens", int64_t{usage.completion_tokens}},
                       {"peer", caller.text},
                       {"peer_gid", if_known(caller.gid)},
                       {"peer_pid", if_known(caller.pid)},
                       {"peer_uid", if_known(caller.uid)},
                       {"queue_ms", done.queue_ms},
                       {"req_id", ActivityLog::Foreign{request().id}},
                       {"route", ActivityLog::Foreign{done.backend.name()}},
                       {"stop_reason", log_name(done.completion.stop_reason)},
                       {"wire_version", kKind.name}});
}

}  // namespace inferd
