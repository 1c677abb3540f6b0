#include "session/v1_session.h"

#include "session/log_fields.h"
#include "wire/v1_codec.h"

namespace inferd {
namespace {

constexpr GenerateSession::Wire kWire = {&wire::v1::decode_request, &wire::v1::validate};

// The names of 06 §7.2, which log readers of the published daemon know.
std::string_view log_name(StopReason reason) {
  switch (reason) {
    case StopReason::kEnd:
    case StopReason::kToolUse:
    case StopReason::kStopSequence: return "End";
    case StopReason::kLength: return "Length";
    case StopReason::kCancelled: return "Cancelled";
    case StopReason::kError: return "Error";
  }
  return "Error";
}

}  // namespace

const SessionKind V1Session::kKind = {"v1", "", [](Connection& connection, SessionContext& context) -> std::unique_ptr<Session> {
                                        return std::make_unique<V1Session>(connection, context);
                                      }};

V1Session::V1Session(Connection& connection, SessionContext& context) : GenerateSession(connection, context, kKind, kWire) {}

void V1Session::forget_answer() {
  if (content_.capacity() > 4096) std::string().swap(content_);
  content_.clear();
}

void V1Session::write_piece(const Piece& piece) {
  if (piece.kind != Piece::Kind::kText) return;
  content_ += piece.text;
  if (!request().stream) return;
  if (wire::v1::append_token(connection().output(), request().id, piece.text)) connection().flush_soon();  // else write_done() says it
}

Status V1Session::write_done(const Completion& completion, const Backend& backend) {
  return wire::v1::append_done(connection().output(), request().id, content_, completion, backend.kind(), backend.name());
}

void V1Session::log_done(const Done& done) {
  const Caller& caller = connection().caller();
  const Usage& usage = done.completion.usage;
  context().log.event(log::Level::kInfo, "request_done",
                      {{"backend", done.backend.kind()},
                       {"cached_prompt_tokens", int64_t{usage.cached_prompt_tokens}},
                       {"completion_tokens", int64_t{usage.completion_tokens}},
                       {"duration_ms", done.duration_ms},
                       {"first_token_ms", done.first_token_ms},
                       {"peer", caller.text},
                       {"peer_gid", if_known(caller.gid)},
                       {"peer_pid", if_known(caller.pid)},
                       {"peer_uid", if_known(caller.uid)},
                       {"prompt_tokens", int64_t{usage.prompt_tokens}},
                       {"queue_ms", done.queue_ms},
                       {"req_id", ActivityLog::Foreign{request().id}},
                       {"route", ActivityLog::Foreign{done.backend.name()}},
                       {"stop_reason", log_name(done.completion.stop_reason)}});
}

}  // namespace inferd
