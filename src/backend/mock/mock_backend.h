// The mock backend (spec 08 §2): answers every request with a fixed tape of pieces. Its knobs are for tests.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "os/asio.h"

namespace inferd {

class MockBackend final : public Backend {
 public:
  enum class Fault { kNone, kNotReady, kInvalid, kUnavailable, kDropAfter };
  struct Options {
    std::string name = "mock";
    std::vector<std::string> tape = {"mock-response"};
    std::chrono::milliseconds delay{0};  // before each piece
    Fault fault = Fault::kNone;
    size_t drop_after = 0;  // pieces, with kDropAfter: then the stream ends without a final event
    size_t active_limit = 1;
  };

  MockBackend(os::asio::io_context& io, Options options);

  std::string_view kind() const override { return "mock"; }
  const std::string& name() const override { return options_.name; }
  bool ready() const override { return ready_; }
  const Capabilities& capabilities() const override { return capabilities_; }
  size_t active_limit() const override { return options_.active_limit; }
  void load(std::function<void(Status)> on_loaded) override;
  std::unique_ptr<Generation> prepare(std::shared_ptr<const GenerateRequest> request, std::shared_ptr<TokenSink> sink) override;
  std::unique_ptr<Generation> embed(std::shared_ptr<const EmbedRequest> request, std::shared_ptr<EmbedSink> sink) override;

  void set_ready(bool ready) { ready_ = ready; }
  Options& options() { return options_; }

 private:
  os::asio::io_context& io_;
  Options options_;
  Capabilities capabilities_;
  bool ready_ = true;
};

}  // namespace inferd
