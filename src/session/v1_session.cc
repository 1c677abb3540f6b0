#include "session/v1_session.h"

#include <utility>

#include "os/asio.h"
#include "request/limits.h"

namespace inferd {
namespace {

// The names of 06 §7.2, which log readers of the published daemon know.
std::string_view log_name(StopReason reason) {
  switch (reason) {
    case StopReason::kEnd: return "End";
    case StopReason::kLength: return "Length";
    case StopReason::kCancelled: return "Cancelled";
    case StopReason::kError: return "Error";
  }
  return "Error";
}

std::string_view stage_name(Dispatch::Stage stage) {
  switch (stage) {
    case Dispatch::Stage::kQueued: return "queued";
    case Dispatch::Stage::kPrepared: return "prepared";
    default: return "running";
  }
}

using Time = std::chrono::steady_clock::time_point;

// Left out if it never came to that.
ActivityLog::Value milliseconds(Time from, Time to) {
  if (to == Time()) return {};
  return int64_t{std::chrono::duration_cast<std::chrono::milliseconds>(to - from).count()};
}

// A uid or pid; left out on TCP.
ActivityLog::Value if_known(int64_t id) {
  if (id < 0) return {};
  return id;
}

}  // namespace

void V1Session::on_frame(std::string_view line) { handle(wire::v1::decode_request(line)); }

void V1Session::on_large_frame(std::string line) {
  auto text = std::make_shared<std::string>(std::move(line));
  connection_.set_parsing(text->size());
  const auto decode = [this, text, self = connection_.shared_from_this()] {
    auto decoded = std::make_shared<Decoded>(wire::v1::decode_request(*text));
    os::asio::post(context_.io, [this, decoded, self] {
      connection_.set_parsing(0);
      handle(std::move(*decoded));
    });
  };
  if (!context_.pool.try_run(decode)) decode();  // the pool is full: this frame costs the I/O thread some milliseconds
}

void V1Session::handle(Decoded decoded) {
  if (!connection_.is_busy()) return;  // the client left while its frame was parsed
  if (auto* failure = std::get_if<wire::v1::DecodeFailure>(&decoded)) {
    wire::v1::append_error(connection_.output(), failure->id, Code::kInvalidRequest, "decode: " + failure->message);
    return connection_.close_after_reply();
  }
  auto& request = std::get<GenerateRequest>(decoded);
  request.flow = connection_.flow();
  request_ = std::make_shared<const GenerateRequest>(std::move(request));
  arrived_ = std::chrono::steady_clock::now();
  first_text_ = {};
  content_.clear();
  if (auto valid = wire::v1::validate(*request_); !valid) return refuse(valid.error().code, valid.error().message);
  if (context_.draining) return refuse(Code::kBackendUnavailable, "draining");
  dispatch_ = std::make_shared<Dispatch>(context_.scheduler, request_, static_cast<Outcome&>(*this));
  dispatch_->submit(arrived_);
}

void V1Session::refuse(Code code, std::string_view message) {
  wire::v1::append_error(connection_.output(), request_->id, code, message);
  end_request();
}

void V1Session::end_request() {
  request_.reset();
  dispatch_.reset();
  if (content_.capacity() > 4096) std::string().swap(content_);
  connection_.finished();
}

void V1Session::text(std::string_view piece) {
  if (content_.empty()) first_text_ = std::chrono::steady_clock::now();
  content_ += piece;
  if (request_->stream) {
    if (wire::v1::append_token(connection_.output(), request_->id, piece)) connection_.flush_soon();  // else done() says it
  }
}

void V1Session::queued(size_t position) {
  wire::v1::append_status(connection_.output(), {.id = request_->id, .status = "queued", .position = position});
  connection_.flush_soon();
}

void V1Session::prefilled(uint32_t prompt_tokens_done, uint32_t prompt_tokens) {
  wire::v1::append_status(connection_.output(), {.id = request_->id,
                                                 .status = "prefill",
                                                 .prompt_tokens_done = prompt_tokens_done,
                                                 .prompt_tokens = prompt_tokens});
  connection_.flush_soon();
}

void V1Session::done(const Completion& completion, const Backend& backend) {
  const auto written = wire::v1::append_done(connection_.output(), request_->id, content_, completion, backend.kind(), backend.name());
  if (!written) wire::v1::append_error(connection_.output(), request_->id, written.error().code, written.error().message);
  const Caller& caller = connection_.caller();
  context_.log.event(log::Level::kInfo, "request_done",
                     {{"backend", backend.kind()},
                      {"cached_prompt_tokens", int64_t{completion.usage.cached_prompt_tokens}},
                      {"completion_tokens", int64_t{completion.usage.completion_tokens}},
                      {"duration_ms", milliseconds(arrived_, std::chrono::steady_clock::now())},
                      {"first_token_ms", milliseconds(arrived_, first_text_)},
                      {"peer", caller.text},
                      {"peer_gid", if_known(caller.gid)},
                      {"peer_pid", if_known(caller.pid)},
                      {"peer_uid", if_known(caller.uid)},
                      {"prompt_tokens", int64_t{completion.usage.prompt_tokens}},
                      {"queue_ms", milliseconds(arrived_, dispatch_->started())},
                      {"req_id", ActivityLog::Foreign{request_->id}},
                      {"route", ActivityLog::Foreign{backend.name()}},
                      {"stop_reason", log_name(completion.stop_reason)}});
  end_request();
}

// The record is about a stream that broke, perhaps before its first piece; a request that was refused has none (spec 06 §7.2).
void V1Session::failed(const Error& error) {
  const Backend* backend = dispatch_->backend();
  const bool mid_stream = !content_.empty() || (error.code != Code::kInvalidRequest && dispatch_->started() != Time());
  wire::v1::append_error(connection_.output(), request_->id, error.code, error.message);
  if (mid_stream && backend != nullptr) {
    const Caller& caller = connection_.caller();
    context_.log.event(log::Level::kWarn, "request_error_mid_stream",
                       {{"backend", backend->kind()},
                        {"peer", caller.text},
                        {"peer_gid", if_known(caller.gid)},
                        {"peer_pid", if_known(caller.pid)},
                        {"peer_uid", if_known(caller.uid)},
                        {"req_id", ActivityLog::Foreign{request_->id}},
                        {"route", ActivityLog::Foreign{backend->name()}}});
  }
  end_request();
}

void V1Session::append_too_large(std::string& out) {
  wire::v1::append_error(out, "", Code::kFrameTooLarge, "frame exceeds " + std::to_string(kMaxFrameBytes) + " byte cap");
}

void V1Session::on_hang_up() {
  if (!dispatch_) return;
  const auto dispatch = std::exchange(dispatch_, nullptr);
  dispatch->cancel([&log = context_.log, request = std::exchange(request_, nullptr), caller = connection_.caller()](
                       Dispatch::Stage stage, const Backend& backend) {
    log.event(log::Level::kInfo, "request_cancelled",
              {{"backend", backend.kind()},
               {"peer", caller.text},
               {"peer_gid", if_known(caller.gid)},
               {"peer_pid", if_known(caller.pid)},
               {"peer_uid", if_known(caller.uid)},
               {"req_id", ActivityLog::Foreign{request->id}},
               {"route", ActivityLog::Foreign{backend.name()}},
               {"state", stage_name(stage)}});
  });
}

void V1Session::on_drain_deadline(bool started) {
  if (!dispatch_ || started != (dispatch_->stage() == Dispatch::Stage::kRunning)) return;
  const auto dispatch = dispatch_;
  const Usage usage = dispatch->usage();
  const Backend* backend = dispatch->backend();
  dispatch->cancel(nullptr);
  if (started) {
    done(Completion{StopReason::kCancelled, usage}, *backend);
  } else {
    failed(Error{Code::kBackendUnavailable, "draining"});
  }
}

}  // namespace inferd
