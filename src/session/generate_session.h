// What the surfaces that generate text share: one request at a time, from its line to its end (spec 01 §4-6, 02 §4). The codec and the frames are
// those of V1Session and V2Session. Owned by its connection; I/O thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "request/generate.h"
#include "schedule/dispatch.h"
#include "session/connection.h"
#include "wire/decode_failure.h"

namespace inferd {

class GenerateSession : public Session, private Outcome {
 public:
  using Decoded = std::variant<GenerateRequest, wire::DecodeFailure>;
  /// Pure functions of the wire; `decode` is also called on the pool.
  struct Wire {
    Decoded (*decode)(std::string_view line);
    Status (*validate)(const GenerateRequest& request);
  };

  void on_frame(std::string_view line) final;
  void on_large_frame(std::string line) final;
  void append_too_large(std::string& out) final;
  void on_hang_up() final;
  void on_drain_deadline(bool started) final;

 protected:
  struct Done {
    const Completion& completion;
    const Backend& backend;
    ActivityLog::Value duration_ms, first_token_ms, queue_ms;
  };

  GenerateSession(Connection& connection, SessionContext& context, const SessionKind& kind, const Wire& wire)
      : connection_(connection), context_(context), kind_(kind), wire_(wire) {}

  const GenerateRequest& request() const { return *request_; }
  Connection& connection() { return connection_; }
  SessionContext& context() { return context_; }

  /// The request has ended: what is kept of its answer goes.
  virtual void forget_answer() = 0;
  /// A part of its answer; frames for it go to the connection's output.
  virtual void write_piece(const Piece& piece) = 0;
  /// Its last frame. An error is sent in its place.
  virtual Status write_done(const Completion& completion, const Backend& backend) = 0;
  virtual void log_done(const Done& done) = 0;

 private:
  void handle(Decoded decoded);
  void refuse(const Error& error);
  void end_request();

  // Outcome
  void piece(const Piece& piece) override;
  void queued(size_t position) override;
  void prefilled(uint32_t prompt_tokens_done, uint32_t prompt_tokens) override;
  void done(const Completion& completion, const Backend& backend) override;
  void failed(const Error& error) override;

  Connection& connection_;
  SessionContext& context_;
  const SessionKind& kind_;
  const Wire& wire_;
  std::shared_ptr<const GenerateRequest> request_;  // null between requests
  std::shared_ptr<Dispatch> dispatch_;
  std::chrono::steady_clock::time_point arrived_, first_piece_;
};

}  // namespace inferd
