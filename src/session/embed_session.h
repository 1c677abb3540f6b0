// The embed surface: one request, one frame (spec 03). Owned by its connection; I/O thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "request/embed.h"
#include "schedule/embed_dispatch.h"
#include "session/connection.h"
#include "wire/decode_failure.h"

namespace inferd {

class EmbedSession final : public Session, private EmbedOutcome {
 public:
  static const SessionKind kKind;
  EmbedSession(Connection& connection, SessionContext& context) : connection_(connection), context_(context) {}

  void on_frame(std::string_view line) override;
  void on_large_frame(std::string line) override;
  void append_too_large(std::string& out) override;
  void on_hang_up() override;
  void on_drain_deadline(bool started) override;

 private:
  using Decoded = std::variant<EmbedRequest, wire::DecodeFailure>;
  void handle(Decoded decoded);
  // Of an answer, for the log.
  struct Done {
    std::string id, backend, route;
    uint32_t dimensions = 0, input_tokens = 0;
    size_t inputs = 0;
    ActivityLog::Value queue_ms;
  };
  Status check_size();
  void refuse(const Error& error);
  void send(const Status& written, std::string frame, const Done& done);
  void end_request();

  void done(Embeddings embeddings, const Backend& backend) override;  // EmbedOutcome
  void failed(const Error& error) override { refuse(error); }

  Connection& connection_;
  SessionContext& context_;
  std::shared_ptr<const EmbedRequest> request_;  // null between requests
  std::shared_ptr<EmbedDispatch> dispatch_;
  std::chrono::steady_clock::time_point arrived_;
};

}  // namespace inferd
