#include "engine/embedder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <thread>

namespace inferd::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kWidth = 4, kContext = 40;

// A token is a byte; a vector has the text's length, its first byte, its last one and 1. Some bytes do something else.
class FakeModel final : public EmbedModel {
 public:
  static constexpr char kEmpty = '0', kBroken = 'N', kZero = 'Z', kUnreadable = 'U';

  uint32_t width() const override { return kWidth; }
  uint32_t n_ctx() const override { return kContext; }
  BatchLimits limits() const override { return {.tokens = 16, .inputs = 4}; }

  Result<std::vector<Token>> tokenize(std::string_view text) const override {
    if (while_tokenizing) while_tokenizing(text);
    if (text.starts_with(kUnreadable)) return fail(Code::kInvalidRequest, "tokenize failed");
    if (text.starts_with(kEmpty)) return std::vector<Token>();
    return std::vector<Token>(text.begin(), text.end());
  }
  size_t fewest_tokens(size_t bytes) const override { return bytes / bytes_of_a_token; }

  Result<bool> compute(std::span<const std::span<const Token>> inputs) override {
    size_t tokens = 0;
    std::vector<std::string> batch;
    vectors_.clear();
    for (const auto& input : inputs) {
      batch.emplace_back(input.begin(), input.end());
      tokens += input.size();
      vectors_.push_back(vector_of(batch.back()));
    }
    EXPECT_LE(inputs.size(), limits().inputs);
    EXPECT_LE(tokens, inputs.size() == 1 ? kContext : limits().tokens);
    batches.push_back(std::move(batch));
    if (while_computing) while_computing();
    if (fails) return fail(Code::kBackendUnavailable, "llama_encode failed: -3");
    return !aborted;
  }
  std::span<const float> embedding(size_t place) const override { return vectors_.at(place); }
  void abort(bool now) override { aborted = now; }

  static std::vector<float> vector_of(const std::string& text) {
    if (text.front() == kZero) return {0, 0, 0, 0};
    const float broken = text.front() == kBroken ? std::numeric_limits<float>::quiet_NaN() : 1;
    return {static_cast<float>(text.size()), static_cast<float>(text.front()), static_cast<float>(text.back()), broken};
  }

  std::function<void(std::string_view)> while_tokenizing;
  std::function<void()> while_computing;
  size_t bytes_of_a_token = 1;
  bool fails = false;
  std::atomic<bool> aborted = false;
  std::vector<std::vector<std::string>> batches;

 private:
  std::vector<std::vector<float>> vectors_;
};

std::vector<float> unit(std::vector<float> vector, size_t dimensions) {
  vector.resize(dimensions);
  double sum = 0;
  for (const float each : vector) sum += static_cast<double>(each) * each;
  for (float& each : vector) each = sum > 0 ? static_cast<float>(each / std::sqrt(sum)) : 0;
  return vector;
}

class EmbedderTest : public ::testing::Test {
 protected:
  void add(uint64_t id, std::vector<std::string> input, std::optional<uint32_t> dimensions = {}) {
    embedder_.announce(id);
    embedder_.add({.id = id, .input = std::move(input), .dimensions = dimensions});
  }
  void run_all() {
    while (embedder_.run_one()) {
    }
    EXPECT_FALSE(embedder_.has_work());
  }
  void expect_done(uint64_t id, const std::vector<std::string>& input, uint32_t dimensions = kWidth) {
    ASSERT_TRUE(done_.contains(id));
    const auto& result = done_[id];
    EXPECT_EQ(result.dimensions, dimensions);
    size_t tokens = 0;
    std::vector<float> expected;
    for (const std::string& text : input) {
      tokens += text.size();
      const auto vector = unit(FakeModel::vector_of(text), dimensions);
      expected.insert(expected.end(), vector.begin(), vector.end());
    }
    EXPECT_EQ(result.input_tokens, tokens);
    ASSERT_EQ(result.values.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_FLOAT_EQ(result.values[i], expected[i]) << i;
  }
  void expect_refused(uint64_t id, Code code, const std::string& message) {
    ASSERT_TRUE(refused_.contains(id));
    EXPECT_EQ(refused_[id].code, code);
    EXPECT_EQ(refused_[id].message, message);
    EXPECT_FALSE(done_.contains(id));
  }

  FakeModel* const model_ = new FakeModel;  // the embedder's
  std::map<uint64_t, engine_wire::Embedded> done_;
  std::map<uint64_t, Error> refused_;
  std::vector<uint64_t> removed_;
  std::vector<uint32_t> announced_ms_;
  int wakes_ = 0;
  Embedder embedder_{std::unique_ptr<EmbedModel>(model_), 1e9,
                     {.done = [this](engine_wire::Embedded result) { done_[result.id] = std::move(result); },
                      .refused = [this](uint64_t id, const Error& error) { refused_[id] = error; },
                      .removed = [this](uint64_t id) { removed_.push_back(id); },
                      .wake = [this] { ++wakes_; },
                      .long_batch = [this](uint32_t ms) { announced_ms_.push_back(ms); }}};
};

TEST_F(EmbedderTest, VectorsHaveLengthOneAndTheOrderOfTheTexts) {
  const std::vector<std::string> input{"a", "a long text of 23 bytes", "bc", "exactly 16 bytes", "d", "efghijk"};
  add(1, input);
  EXPECT_EQ(wakes_, 1);
  EXPECT_TRUE(embedder_.has_work());
  run_all();
  expect_done(1, input);
  EXPECT_TRUE(announced_ms_.empty());
}

TEST_F(EmbedderTest, TextsShareBatchesAndALongOneIsAlone) {
  add(1, {"aaaa", "bbbbbbbbbbbb", "cccccccccccccccccc", "dd"});
  run_all();
  EXPECT_THAT(model_->batches, ElementsAre(ElementsAre("cccccccccccccccccc"), ElementsAre("bbbbbbbbbbbb", "aaaa"), ElementsAre("dd")));
}

TEST_F(EmbedderTest, DimensionsCutBeforeTheLengthIsMadeOne) {
  add(1, {"abc", "x"}, 2);
  run_all();
  expect_done(1, {"abc", "x"}, 2);
}

TEST_F(EmbedderTest, NoDimensionsAreEmptyVectorsAndComputeNothing) {
  add(1, {"abc", "x"}, 0);
  EXPECT_FALSE(embedder_.has_work());
  expect_done(1, {"abc", "x"}, 0);
  EXPECT_THAT(model_->batches, IsEmpty());
}

TEST_F(EmbedderTest, MoreDimensionsThanTheModelHasAreRefused) {
  add(1, {"abc"}, kWidth + 1);
  expect_refused(1, Code::kInvalidRequest, "dimensions 5 exceeds model n_embd 4");
  EXPECT_FALSE(embedder_.has_work());
}

TEST_F(EmbedderTest, ATextBeyondTheContextIsNamedWithBothNumbers) {
  add(1, {"abc", std::string(kContext, 'x')});
  run_all();
  EXPECT_TRUE(done_.contains(1));
  model_->bytes_of_a_token = 2;
  add(2, {"abc", "d", std::string(kContext + 2, 'x')});
  expect_refused(2, Code::kInvalidRequest, "input[2] has 42 tokens, the model takes at most 40");
  add(3, {std::string(100 * kContext, 'x')});  // not even tokenised
  expect_refused(3, Code::kInvalidRequest, "input[0] has at least 2000 tokens, the model takes at most 40");
}

TEST_F(EmbedderTest, ATextWithoutTokensIsRefused) {
  add(1, {"abc", "0"});
  expect_refused(1, Code::kInvalidRequest, "input[1]: input produced zero tokens");
}

TEST_F(EmbedderTest, ATextThatCannotBeTokenisedIsRefused) {
  add(1, {"U"});
  expect_refused(1, Code::kInvalidRequest, "input[0]: tokenize failed");
}

TEST_F(EmbedderTest, AVectorOfZerosStays) {
  add(1, {"Z", "a"});
  run_all();
  expect_done(1, {"Z", "a"});
}

TEST_F(EmbedderTest, WhatIsNoNumberIsAnErrorOfItsRequestAlone) {
  add(1, {"a", "N"});
  add(2, {"b"});
  add(3, {"N"}, 3);  // the component that is no number is cut off
  run_all();
  expect_refused(1, Code::kInternal, "input[1]: the model computed something that is no number");
  expect_done(2, {"b"});
  EXPECT_TRUE(done_.contains(3));
}

TEST_F(EmbedderTest, WhatCannotBeComputedIsAnErrorOfAllInTheBatch) {
  add(1, {"a"});
  add(2, {"b"});
  model_->fails = true;
  EXPECT_TRUE(embedder_.run_one());
  expect_refused(1, Code::kBackendUnavailable, "llama_encode failed: -3");
  expect_refused(2, Code::kBackendUnavailable, "llama_encode failed: -3");
  model_->fails = false;
  add(3, {"c"});
  run_all();
  expect_done(3, {"c"});
}

TEST_F(EmbedderTest, SmallRequestsShareABatch) {
  for (uint64_t id = 1; id <= 4; ++id) add(id, {std::string(id, 'a')});
  EXPECT_TRUE(embedder_.run_one());
  EXPECT_EQ(done_.size(), 4u);
  EXPECT_THAT(model_->batches, ElementsAre(ElementsAre("a", "aa", "aaa", "aaaa")));
}

TEST_F(EmbedderTest, RequestsTakeTurnsBatchByBatch) {
  const std::string full(16, 'a'), other(16, 'b');
  add(1, {full, full, full});
  add(2, {other});
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(embedder_.run_one());
  expect_done(2, {other});
  EXPECT_FALSE(done_.contains(1));
  run_all();
  expect_done(1, {full, full, full});
}

TEST_F(EmbedderTest, AWaitingRequestIsCancelledAtOnce) {
  add(1, {"a"});
  add(2, {"b"});
  EXPECT_TRUE(embedder_.cancel(1));
  EXPECT_THAT(removed_, ElementsAre(1));
  EXPECT_FALSE(embedder_.cancel(1));
  run_all();
  expect_done(2, {"b"});
  EXPECT_THAT(model_->batches, ElementsAre(ElementsAre("b")));
  EXPECT_FALSE(done_.contains(1));
}

TEST_F(EmbedderTest, ACancelBeforeTheRequestIsAddedMeansNothingIsDone) {
  embedder_.announce(1);
  EXPECT_TRUE(embedder_.cancel(1));
  embedder_.add({.id = 1, .input = {"a"}, .dimensions = {}});
  embedder_.refuse(1, {Code::kQueueFull, "queue full"});
  EXPECT_THAT(removed_, ElementsAre(1));
  EXPECT_FALSE(embedder_.has_work());
  EXPECT_TRUE(done_.empty() && refused_.empty());
}

TEST_F(EmbedderTest, ACancelEndsTheTokenising) {
  size_t tokenized = 0;
  model_->while_tokenizing = [&](std::string_view) {
    if (++tokenized == 2) {
      EXPECT_TRUE(embedder_.cancel(1));
    }
  };
  add(1, std::vector<std::string>(100, "abc"));
  EXPECT_EQ(tokenized, 2u);
  EXPECT_THAT(removed_, ElementsAre(1));
  EXPECT_TRUE(done_.empty() && refused_.empty());
  EXPECT_FALSE(embedder_.has_work());
}

TEST_F(EmbedderTest, ACancelAbortsABatchThatServesNobodyElse) {
  const std::string full(16, 'a');
  add(1, {full, full});
  model_->while_computing = [&] {
    EXPECT_TRUE(embedder_.cancel(1));
    EXPECT_TRUE(model_->aborted);
    EXPECT_THAT(removed_, IsEmpty()) << "it still computes";
  };
  EXPECT_TRUE(embedder_.run_one());
  EXPECT_THAT(removed_, ElementsAre(1));
  EXPECT_FALSE(embedder_.run_one());
  EXPECT_TRUE(done_.empty() && refused_.empty());
  model_->while_computing = nullptr;
  add(2, {"b"});
  run_all();
  expect_done(2, {"b"});
}

TEST_F(EmbedderTest, ACancelLeavesABatchAloneThatServesOthersToo) {
  add(1, {"a"});
  add(2, {"b"});
  model_->while_computing = [&] {
    EXPECT_TRUE(embedder_.cancel(1));
    EXPECT_FALSE(model_->aborted);
  };
  EXPECT_TRUE(embedder_.run_one());
  EXPECT_THAT(removed_, ElementsAre(1));
  expect_done(2, {"b"});
  EXPECT_FALSE(done_.contains(1));
}

TEST_F(EmbedderTest, ABatchIsAbortedWhenTheLastOfItIsCancelled) {
  add(1, {"a"});
  add(2, {"b"});
  model_->while_computing = [&] {
    EXPECT_TRUE(embedder_.cancel(2));
    EXPECT_FALSE(model_->aborted);
    EXPECT_TRUE(embedder_.cancel(1));
    EXPECT_TRUE(model_->aborted);
  };
  EXPECT_TRUE(embedder_.run_one());
  EXPECT_THAT(removed_, ElementsAre(2, 1));
  EXPECT_TRUE(done_.empty() && refused_.empty());
}

TEST_F(EmbedderTest, WhatHasEndedIsNotKnownToACancel) {
  add(1, {"a"});
  run_all();
  add(2, {"0"});
  EXPECT_FALSE(embedder_.cancel(1));
  EXPECT_FALSE(embedder_.cancel(2));
  EXPECT_FALSE(embedder_.cancel(3));
  EXPECT_THAT(removed_, IsEmpty());
}

TEST_F(EmbedderTest, OneThatCouldNotBeAddedIsRefused) {
  embedder_.announce(1);
  embedder_.refuse(1, {Code::kQueueFull, "queue full"});
  expect_refused(1, Code::kQueueFull, "queue full");
  EXPECT_FALSE(embedder_.cancel(1));
}

TEST(EmbedderTimes, ABatchThatMayTakeLongIsAnnounced) {
  std::vector<uint32_t> announced;
  Embedder embedder(std::make_unique<FakeModel>(), 10,
                    {.done = [](engine_wire::Embedded) {},
                     .refused = [](uint64_t, const Error&) {},
                     .removed = [](uint64_t) {},
                     .wake = [] {},
                     .long_batch = [&](uint32_t ms) { announced.push_back(ms); }});
  embedder.announce(1);
  embedder.add({.id = 1, .input = {std::string(kContext, 'a')}, .dimensions = {}});
  EXPECT_TRUE(embedder.run_one());
  EXPECT_EQ(announced.size(), 1u) << "nothing was measured before";
}

// For the thread sanitizer: each request ends exactly once, whatever comes together.
TEST(EmbedderThreads, RequestsAndCancelsFromManyThreadsEndOnceEach) {
  constexpr uint64_t kRequests = 400;
  std::mutex mutex;
  std::map<uint64_t, int> ends;
  const auto end = [&](uint64_t id) {
    const std::lock_guard lock(mutex);
    ++ends[id];
  };
  Embedder embedder(std::make_unique<FakeModel>(), 1e9,
                    {.done = [&](engine_wire::Embedded result) { end(result.id); },
                     .refused = [&](uint64_t id, const Error&) { end(id); },
                     .removed = [&](uint64_t id) { end(id); },
                     .wake = [] {},
                     .long_batch = [](uint32_t) {}});
  for (uint64_t id = 0; id < kRequests; ++id) embedder.announce(id);
  const auto add_every_second = [&](uint64_t first) {
    for (uint64_t id = first; id < kRequests; id += 2) {
      embedder.add({.id = id, .input = std::vector<std::string>(1 + id % 7, std::string(1 + id % 16, 'a')), .dimensions = {}});
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back(add_every_second, 0);
  threads.emplace_back(add_every_second, 1);
  threads.emplace_back([&] {
    for (uint64_t id = 0; id < kRequests; id += 3) embedder.cancel(id);
  });
  const auto all_ended = [&] {
    const std::lock_guard lock(mutex);
    return ends.size() == kRequests;
  };
  while (!all_ended()) embedder.run_one();
  for (auto& thread : threads) thread.join();
  EXPECT_FALSE(embedder.run_one());
  for (const auto& [id, times] : ends) EXPECT_EQ(times, 1) << id;
}

}  // namespace
}  // namespace inferd::engine
