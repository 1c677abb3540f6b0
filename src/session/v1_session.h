// The v1 surface: one request at a time, its frames, its end (spec 01 §4-6). Owned by its connection; I/O thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <variant>

#include "request/generate.h"
#include "schedule/dispatch.h"
#include "session/connection.h"
#include "wire/v1_codec.h"

namespace inferd {

class V1Session final : public Session, private Outcome {
 public:
  V1Session(Connection& connection, SessionContext& context) : connection_(connection), context_(context) {}
  static std::unique_ptr<Session> make(Connection& connection, SessionContext& context) {
    return std::make_unique<V1Session>(connection, context);
  }

  void on_frame(std::string_view line) override;
  void on_large_frame(std::string line) override;
  void append_too_large(std::string& out) override;
  void on_hang_up() override;
  void on_drain_deadline(bool started) override;

 private:
  using Decoded = std::variant<GenerateRequest, wire::v1::DecodeFailure>;
  void handle(Decoded decoded);
  void refuse(Code code, std::string_view message);
  void end_request();

  // Outcome
  void text(std::string_view piece) override;
  void queued(size_t position) override;
  void prefilled(uint32_t prompt_tokens_done, uint32_t prompt_tokens) override;
  void done(const Completion& completion, const Backend& backend) override;
  void failed(const Error& error) override;

  Connection& connection_;
  SessionContext& context_;
  std::shared_ptr<const GenerateRequest> request_;  // null between requests
  std::shared_ptr<Dispatch> dispatch_;
  std::string content_;  // the whole answer so far
  std::chrono::steady_clock::time_point arrived_, first_text_;
};

}  // namespace inferd
