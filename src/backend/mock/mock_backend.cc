#include "backend/mock/mock_backend.h"

#include <string>
#include <utility>

#include "request/limits.h"

namespace inferd {
namespace {

constexpr uint32_t kMockDimensions = 8;

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
      const Piece text{.text = piece};
      sink->answer({&text, 1}, 1);
      if (sink_ && (next_ < options_.tape.size() || options_.fault == MockBackend::Fault::kDropAfter)) return true;
    }
    if (sink_) {
      sink_ = nullptr;
      sink->done(Completion{.usage = {0, static_cast<uint32_t>(options_.tape.size()), 0}});
    }
    return false;
  }

  os::asio::io_context& io_;
  const MockBackend::Options& options_;
  std::shared_ptr<TokenSink> sink_;  // null once it has ended
  std::optional<os::asio::steady_timer> timer_;
  size_t next_ = 0;
};

class MockEmbedding final : public Generation {
 public:
  MockEmbedding(const MockBackend::Options& options, std::shared_ptr<const EmbedRequest> request, std::shared_ptr<EmbedSink> sink)
      : options_(options), request_(std::move(request)), sink_(std::move(sink)) {}

  void start(bool) override {
    const auto sink = std::exchange(sink_, nullptr);
    if (!sink) return;
    switch (options_.fault) {
      case MockBackend::Fault::kInvalid: return sink->failed(Error{Code::kInvalidRequest, "mock"});
      case MockBackend::Fault::kUnavailable: return sink->failed(Error{Code::kBackendUnavailable, "mock"});
      case MockBackend::Fault::kNotReady: return sink->failed(Error{Code::kBackendUnavailable, "backend not ready"});
      default: break;
    }
    const uint32_t dimensions = request_->dimensions.value_or(kMockDimensions);
    if (dimensions > kMaxEmbedDimensions) {
      return sink->failed(Error{Code::kInvalidRequest, "dimensions " + std::to_string(dimensions) + " exceeds " + std::to_string(kMaxEmbedDimensions)});
    }
    Embeddings out{.dimensions = dimensions, .values = {}, .model = "mock"};
    for (const std::string& text : request_->input) {
      for (uint32_t i = 0; i < dimensions; ++i) out.values.push_back(static_cast<float>(i + 1) / static_cast<float>(text.size() + 1));
      out.input_tokens += static_cast<uint32_t>(text.size());
    }
    sink->done(std::move(out));
  }

  void cancel() override {
    if (const auto sink = std::exchange(sink_, nullptr)) sink->removed();
  }

 private:
  const MockBackend::Options& options_;
  const std::shared_ptr<const EmbedRequest> request_;
  std::shared_ptr<EmbedSink> sink_;  // null once it has ended
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

MockBackend::MockBackend(os::asio::io_context& io, Options options) : io_(io), options_(std::move(options)) {
  capabilities_.backend = "mock";
  capabilities_.name = options_.name;
  capabilities_.v2 = capabilities_.thinking = capabilities_.embed = true;
  capabilities_.embed_width = kMockDimensions;
}

void MockBackend::load(std::function<void(Status)> on_loaded) { on_loaded({}); }

std::unique_ptr<Generation> MockBackend::prepare(std::shared_ptr<const GenerateRequest>, std::shared_ptr<TokenSink> sink) {
  auto generation = std::make_shared<MockGeneration>(io_, options_, std::move(sink));
  generation->prepare();
  return std::make_unique<MockHandle>(std::move(generation));
}

std::unique_ptr<Generation> MockBackend::embed(std::shared_ptr<const EmbedRequest> request, std::shared_ptr<EmbedSink> sink) {
  return std::make_unique<MockEmbedding>(options_, std::move(request), std::move(sink));
}

}  // namespace inferd
