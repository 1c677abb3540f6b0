#include "session/generate_session.h"

#include <utility>

#include "session/large_frame.h"
#include "session/log_fields.h"
#include "wire/reply_frames.h"

namespace inferd {
namespace {

std::string_view stage_name(Dispatch::Stage stage) {
  switch (stage) {
    case Dispatch::Stage::kQueued: return "queued";
    case Dispatch::Stage::kPrepared: return "prepared";
    default: return "running";
  }
}

}  // namespace

void GenerateSession::on_frame(std::string_view line) { handle(wire_.decode(line)); }

void GenerateSession::on_large_frame(std::string line) {
  decode_on_pool<Decoded>(connection_, context_, std::move(line), wire_.decode, [this](Decoded decoded) { handle(std::move(decoded)); });
}

void GenerateSession::handle(Decoded decoded) {
  if (!connection_.is_busy()) return;  // the client left while its frame was parsed
  if (auto* failure = std::get_if<wire::DecodeFailure>(&decoded)) {
    wire::append_error(connection_.output(), failure->id, Code::kInvalidRequest, "decode: " + failure->message);
    return connection_.close_after_reply();
  }
  auto& request = std::get<GenerateRequest>(decoded);
  request.flow = connection_.flow();
  request_ = std::make_shared<const GenerateRequest>(std::move(request));
  arrived_ = std::chrono::steady_clock::now();
  first_piece_ = {};
  if (auto valid = wire_.validate(*request_); !valid) return refuse(valid.error());
  if (context_.draining) return refuse(Error{Code::kBackendUnavailable, "draining"});
  dispatch_ = std::make_shared<Dispatch>(context_.scheduler, request_, static_cast<Outcome&>(*this));
  dispatch_->submit(arrived_);
}

void GenerateSession::refuse(const Error& error) {
  wire::append_error(connection_.output(), request_->id, error.code, error.message);
  end_request();
}

void GenerateSession::end_request() {
  forget_answer();
  request_.reset();
  dispatch_.reset();
  connection_.finished();
}

void GenerateSession::piece(const Piece& piece) {
  if (first_piece_ == std::chrono::steady_clock::time_point()) first_piece_ = std::chrono::steady_clock::now();
  write_piece(piece);
}

void GenerateSession::queued(size_t position) {
  wire::append_status(connection_.output(), {.id = request_->id, .status = "queued", .position = position});
  connection_.flush_soon();
}

void GenerateSession::prefilled(uint32_t prompt_tokens_done, uint32_t prompt_tokens) {
  wire::append_status(connection_.output(), {.id = request_->id,
                                             .status = "prefill",
                                             .prompt_tokens_done = prompt_tokens_done,
                                             .prompt_tokens = prompt_tokens});
  connection_.flush_soon();
}

void GenerateSession::done(const Completion& completion, const Backend& backend) {
  if (auto written = write_done(completion, backend); !written) {
    wire::append_error(connection_.output(), request_->id, written.error().code, written.error().message);
  }
  log_done({completion, backend, milliseconds(arrived_, std::chrono::steady_clock::now()), milliseconds(arrived_, first_piece_),
            milliseconds(arrived_, dispatch_->started())});
  end_request();
}

// The record is about a stream that broke, perhaps before its first piece; a request that was refused has none (spec 06 §7.2).
void GenerateSession::failed(const Error& error) {
  const Backend* backend = dispatch_->backend();
  const bool sent = first_piece_ != std::chrono::steady_clock::time_point();
  const bool mid_stream = sent || (error.code != Code::kInvalidRequest && dispatch_->started() != std::chrono::steady_clock::time_point());
  wire::append_error(connection_.output(), request_->id, error.code, error.message);
  if (mid_stream && backend != nullptr) {
    const Caller& caller = connection_.caller();
    context_.log.event(log::Level::kWarn, std::string(kind_.prefix) + "request_error_mid_stream",
                       {{"backend", backend->kind()},
                        {"peer", caller.text},
                        {"peer_gid", if_known(caller.gid)},
                        {"peer_pid", if_known(caller.pid)},
                        {"peer_uid", if_known(caller.uid)},
                        {"req_id", ActivityLog::Foreign{request_->id}},
                        {"route", ActivityLog::Foreign{backend->name()}},
                        {"wire_version", wire_version(kind_)}});
  }
  end_request();
}

void GenerateSession::append_too_large(std::string& out) { wire::append_frame_too_large(out); }

void GenerateSession::on_hang_up() {
  if (!dispatch_) return;
  const auto dispatch = std::exchange(dispatch_, nullptr);
  dispatch->cancel([&log = context_.log, &kind = kind_, request = std::exchange(request_, nullptr), caller = connection_.caller()](
                       Dispatch::Stage stage, const Backend& backend) {
    log.event(log::Level::kInfo, std::string(kind.prefix) + "request_cancelled",
              {{"backend", backend.kind()},
               {"peer", caller.text},
               {"peer_gid", if_known(caller.gid)},
               {"peer_pid", if_known(caller.pid)},
               {"peer_uid", if_known(caller.uid)},
               {"req_id", ActivityLog::Foreign{request->id}},
               {"route", ActivityLog::Foreign{backend.name()}},
               {"state", stage_name(stage)},
               {"wire_version", wire_version(kind)}});
  });
}

void GenerateSession::on_drain_deadline(bool started) {
  if (!dispatch_ || started != (dispatch_->stage() == Dispatch::Stage::kRunning)) return;
  const auto dispatch = dispatch_;
  const Usage usage = dispatch->usage();
  const Backend* backend = dispatch->backend();
  dispatch->cancel(nullptr);
  if (started) {
    done(Completion{.stop_reason = StopReason::kCancelled, .usage = usage}, *backend);
  } else {
    failed(Error{Code::kBackendUnavailable, "draining"});
  }
}

}  // namespace inferd
