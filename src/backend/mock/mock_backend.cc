#include "backend/mock/mock_backend.h"

#include <utility>

namespace inferd {
namespace {

// Plays the tape. Without a delay it does so inside start(); with one, a timer holds it until it has ended.
class MockGeneration final : public Generation, public std::enable_shared_from_this<MockGeneration> {
 public:
  MockGeneration(os::asio::io_context& io, const MockBackend::Options& options, std::shared_ptr<TokenSink> sink)
      : io_(io), options_(options), sink_(std::move(sink)) {}

  void prepare() {
    const auto sink = sink_;  // end() lets go of sink_
    switch (options_.fault) {
      case MockBackend::Fault::kInvalid: return fail_with(Code::kInvalidRequest, "mock");
      case MockBackend::Fault::kUnavailable: return fail_with(Code::kBackendUnavailable, "mock");
      case MockBackend::Fault::kNotReady: return fail_with(Code::kBackendUnavailable, "backend not ready");
      default: sink->prepared(Usage{});
    }
  }

  void start(bool) override {
    if (options_.delay.count() == 0) {
      while (step()) {
      }
    } else {
      wait();
    }
  }

  void cancel() override {
    if (timer_) timer_->cancel();
    if (const auto sink = std::exchange(sink_, nullptr)) sink->removed();
  }

 private:
  void fail_with(Code code, const char* message) {
    if (const auto sink = std::exchange(sink_, nullptr)) sink->failed(Error{code, message});
  }

  void wait() {
    if (!timer_) timer_.emplace(io_);
    timer_->expires_after(options_.delay);
    timer_->async_wait([self = shared_from_this()](const os::ErrorCode& error) {
      if (!error && self->step()) self->wait();
    });
  }

  // One piece or the end; false when nothing is left to do.
  bool step() {
    const auto sink = sink_;
    if (!sink) return false;
    if (options_.fault == MockBackend::Fault::kDropAfter && next_ == options_.drop_after) {
      fail_with(Code::kBackendUnavailable, "backend ended stream without terminal frame");
      return false;
    }
    if (next_ < options_.tape.size()) {
      const std::string& piece = options_.tape[next_++];
      sink->text(piece, 1);
      if (sink_ && (next_ < options_.tape.size() || options_.fault == MockBackend::Fault::kDropAfter)) return true;
    }
    if (sink_) {
      sink_ = nullptr;
      sink->done(Completion{StopReason::kEnd, Usage{0, static_cast<uint32_t>(options_.tape.size()), 0}});
    }
    return false;
  }

  os::asio::io_context& io_;
  const MockBackend::Options& options_;
  std::shared_ptr<TokenSink> sink_;  // null once it has ended
  std::optional<os::asio::steady_timer> timer_;
  size_t next_ = 0;
};

// What the caller holds; the generation itself lives as long as its timer needs it.
class MockHandle final : public Generation {
 public:
  explicit MockHandle(std::shared_ptr<MockGeneration> generation) : generation_(std::move(generation)) {}
  void start(bool promoted) override { generation_->start(promoted); }
  void cancel() override { generation_->cancel(); }

 private:
  std::shared_ptr<MockGeneration> generation_;
};

}  // namespace

Capabilities MockBackend::capabilities() const {
  Capabilities capabilities;
  capabilities.backend = "mock";
  capabilities.name = options_.name;
  capabilities.v2 = capabilities.thinking = capabilities.embed = true;
  return capabilities;
}

void MockBackend::load(std::function<void(Status)> on_loaded) { on_loaded({}); }

std::unique_ptr<Generation> MockBackend::prepare(std::shared_ptr<const GenerateRequest>, std::shared_ptr<TokenSink> sink) {
  auto generation = std::make_shared<MockGeneration>(io_, options_, std::move(sink));
  generation->prepare();
  return std::make_unique<MockHandle>(std::move(generation));
}

}  // namespace inferd
