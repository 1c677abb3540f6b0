#include "session/embed_session.h"

#include <utility>

#include "os/asio.h"
#include "request/limits.h"
#include "session/large_frame.h"
#include "session/log_fields.h"
#include "wire/embed_codec.h"
#include "wire/reply_frames.h"

namespace inferd {
namespace {

constexpr size_t kInlineNumbers = 16'384;  // of an answer that is written on the I/O thread

}  // namespace

const SessionKind EmbedSession::kKind = {"embed", "embed_", [](Connection& connection, SessionContext& context) -> std::unique_ptr<Session> {
                                           return std::make_unique<EmbedSession>(connection, context);
                                         }};

void EmbedSession::on_frame(std::string_view line) { handle(wire::embed::decode_request(line)); }

void EmbedSession::on_large_frame(std::string line) {
  decode_on_pool<Decoded>(connection_, context_, std::move(line), &wire::embed::decode_request,
                          [this](Decoded decoded) { handle(std::move(decoded)); });
}

void EmbedSession::handle(Decoded decoded) {
  if (!connection_.is_busy()) return;  // the client left while its frame was parsed
  if (auto* failure = std::get_if<wire::DecodeFailure>(&decoded)) {
    wire::append_error(connection_.output(), failure->id, Code::kInvalidRequest, "decode: " + failure->message);
    return connection_.close_after_reply();
  }
  auto& request = std::get<EmbedRequest>(decoded);
  request.flow = connection_.flow();
  request_ = std::make_shared<const EmbedRequest>(std::move(request));
  arrived_ = std::chrono::steady_clock::now();
  if (auto valid = wire::embed::validate(*request_); !valid) return refuse(valid.error());
  if (auto fits = check_size(); !fits) return refuse(fits.error());
  if (context_.draining) return refuse(Error{Code::kBackendUnavailable, "draining"});
  dispatch_ = std::make_shared<EmbedDispatch>(context_.scheduler, request_, static_cast<EmbedOutcome&>(*this));
  dispatch_->submit(arrived_);
}

// A result that no frame holds is refused before any work. More dimensions than any backend has are its own to refuse.
Status EmbedSession::check_size() {
  const auto* entry = context_.scheduler.router().pick(Need::kEmbed, arrived_);
  if (entry == nullptr) return {};
  const uint32_t dimensions = request_->dimensions.value_or(entry->backend->capabilities().embed_width);
  if (dimensions > kMaxEmbedDimensions) return {};
  return wire::embed::fits_one_frame(*request_, dimensions);
}

void EmbedSession::refuse(const Error& error) {
  const Error copy = error;  // may be the dispatch's
  wire::append_error(connection_.output(), request_->id, copy.code, copy.message);
  end_request();
}

void EmbedSession::end_request() {
  request_.reset();
  dispatch_.reset();
  connection_.finished();
}

void EmbedSession::done(Embeddings embeddings, const Backend& backend) {
  Done done{.id = request_->id,
            .backend = std::string(backend.kind()),
            .route = backend.name(),
            .dimensions = embeddings.dimensions,
            .input_tokens = embeddings.input_tokens,
            .inputs = request_->input.size(),
            .queue_ms = milliseconds(arrived_, dispatch_->started())};
  dispatch_.reset();
  const auto write = [](const Embeddings& vectors, const Done& of, std::string& frame) {
    return wire::embed::append_embeddings(frame, of.id, vectors, of.backend, of.route);
  };
  if (embeddings.values.size() <= kInlineNumbers) {
    std::string frame;
    const Status written = write(embeddings, done, frame);
    return send(written, std::move(frame), done);
  }
  // Writing millions of numbers takes a good part of a second: on the pool.
  const auto work = [this, self = connection_.shared_from_this(), write, vectors = std::make_shared<const Embeddings>(std::move(embeddings)),
                     done = std::move(done)] {
    auto frame = std::make_shared<std::string>();
    const Status written = write(*vectors, done, *frame);
    os::asio::post(context_.io, [this, self, frame, written, done] {
      if (connection_.is_busy()) send(written, std::move(*frame), done);  // else the client left meanwhile
    });
  };
  if (!context_.pool.try_run(work)) work();
}

void EmbedSession::send(const Status& written, std::string frame, const Done& done) {
  if (!written) return refuse(written.error());
  connection_.output() += frame;
  const Caller& caller = connection_.caller();
  context_.log.event(log::Level::kInfo, "embed_request_done",
                     {{"backend", std::string_view(done.backend)},
                      {"dimensions", int64_t{done.dimensions}},
                      {"duration_ms", milliseconds(arrived_, std::chrono::steady_clock::now())},
                      {"input_tokens", int64_t{done.input_tokens}},
                      {"n_inputs", static_cast<int64_t>(done.inputs)},
                      {"peer", caller.text},
                      {"peer_gid", if_known(caller.gid)},
                      {"peer_pid", if_known(caller.pid)},
                      {"peer_uid", if_known(caller.uid)},
                      {"queue_ms", done.queue_ms},
                      {"req_id", ActivityLog::Foreign{done.id}},
                      {"route", ActivityLog::Foreign{done.route}},
                      {"wire_version", kKind.name}});
  end_request();
}

void EmbedSession::append_too_large(std::string& out) { wire::append_frame_too_large(out); }

void EmbedSession::on_hang_up() {
  request_.reset();
  if (dispatch_) std::exchange(dispatch_, nullptr)->cancel();
}

void EmbedSession::on_drain_deadline(bool started) {
  if (!dispatch_ || started != (dispatch_->started() != std::chrono::steady_clock::time_point())) return;
  std::exchange(dispatch_, nullptr)->cancel();
  refuse(Error{Code::kBackendUnavailable, "draining"});
}

}  // namespace inferd
