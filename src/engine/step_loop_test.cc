#include "engine/step_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>

#include "engine/plain_answer.h"

namespace inferd::engine {
namespace {

constexpr Token kVocabulary = 64, kEnd = 0;

// A model whose next token is a hash of its cells: a wrong, missing or foreign cell changes the answer. As llama.cpp's memories do: cells have
// a position and the sequences that own them; a sliding window drops what is behind it; a recurrent state is one for all tokens.
class FakeDecoder final : public Decoder {
 public:
  enum class Kind { kFull, kWindow, kRecurrent };
  static constexpr size_t kWindowTokens = 24;

  FakeDecoder(Kind kind, size_t cells, size_t capacity) : kind_(kind), cells_(cells), capacity_(capacity) {}

  static Token next(Kind kind, const std::vector<Token>& tokens) {
    uint64_t hash = 1469598103934665603u;
    const size_t from = kind == Kind::kWindow && tokens.size() > kWindowTokens ? tokens.size() - kWindowTokens : 0;
    for (size_t i = from; i < tokens.size(); ++i) hash = (hash ^ (static_cast<uint64_t>(tokens[i]) + i * 31)) * 1099511628211u;
    return static_cast<Token>((hash >> 20) % kVocabulary);
  }

  size_t batch_capacity() const override { return capacity_; }
  void abort(bool) override {}
  bool is_recurrent() const override { return kind_ == Kind::kRecurrent; }
  size_t window() const override { return kind_ == Kind::kWindow ? kWindowTokens : 0; }
  bool is_end(Token token) const override { return token == kEnd; }
  void append_piece(Token token, std::string& out) const override { out += std::to_string(token) + " "; }

  Outcome compute(std::span<const Input> batch) override {
    ++computations;
    computed += batch.size();
    if (abort_next) {
      abort_next = false;
      return Outcome::kAborted;
    }
    if (fail_next) {  // as llama.cpp's recurrent memory does it: states of all sequences have moved
      fail_next = false;
      for (auto& [id, sequence] : sequences_) {
        for (auto& [position, cell] : sequence) {
          if (kind_ == Kind::kRecurrent) cell = std::make_shared<Token>(kVocabulary);
        }
      }
      return Outcome::kFailed;
    }
    answers_.clear();
    for (const Input& input : batch) {
      auto& sequence = sequences_[input.sequence];
      EXPECT_EQ(input.position, sequence.empty() ? 0u : sequence.rbegin()->first + 1) << "positions of a sequence are consecutive";
      const auto cell = std::make_shared<Token>(input.token);
      sequence[input.position] = cell;
      EXPECT_LE(used_cells(), cells_) << "more cells than there are";
      std::vector<Token> tokens;
      if (input.wants_logits) {
        const size_t needed = kind_ == Kind::kWindow ? std::min<size_t>(kWindowTokens, input.position + 1) : input.position + 1;
        EXPECT_GE(sequence.size(), needed) << "cells that the model needs are missing";
        tokens.resize(input.position + 1);
        for (const auto& [position, token] : sequence) tokens[position] = *token;
      }
      answers_.push_back(input.wants_logits ? std::optional(next(kind_, tokens)) : std::nullopt);
      if (kind_ == Kind::kWindow) {
        while (sequence.size() > kWindowTokens + 8) sequence.erase(sequence.begin());
      }
    }
    return Outcome::kComputed;
  }
  // A span's cells hash like those of text; it may not be begun in its middle.
  Outcome compute_media(const MediaInput& input) override {
    ++spans_computed;
    std::vector<Input> batch;
    for (size_t i = 0; i < input.tokens.size(); ++i) {
      const bool last = i + 1 == input.tokens.size();
      batch.push_back({input.tokens[i], input.position + static_cast<uint32_t>(i), input.sequence, input.wants_logits && last});
    }
    return compute(batch);
  }
  const float* logits(size_t place) override {
    EXPECT_TRUE(answers_.at(place).has_value());
    logits_.assign(kVocabulary, 0);
    logits_[static_cast<size_t>(*answers_[place])] = 1;
    return logits_.data();
  }

  void share(SequenceId from, SequenceId to, size_t length) override {
    EXPECT_TRUE(sequences_[to].empty());
    for (const auto& [position, cell] : sequences_[from]) {
      if (position < length) sequences_[to][position] = cell;
    }
    EXPECT_TRUE(kind_ != Kind::kRecurrent || sequences_[from].size() == length) << "a recurrent state stands for all its tokens";
  }
  bool cut(SequenceId id, size_t length) override {
    auto& sequence = sequences_[id];
    if (kind_ == Kind::kRecurrent && length != sequence.size()) return false;
    sequence.erase(sequence.lower_bound(static_cast<uint32_t>(length)), sequence.end());
    return true;
  }
  void clear(SequenceId id) override { sequences_[id].clear(); }
  int64_t first_position(SequenceId id) override { return sequences_[id].empty() ? -1 : sequences_[id].begin()->first; }
  std::vector<uint8_t> save(SequenceId id) override {
    ++saved;
    std::vector<uint8_t> bytes;
    for (const auto& [position, cell] : sequences_[id]) {
      bytes.resize(bytes.size() + 8);
      std::memcpy(bytes.data() + bytes.size() - 8, &position, 4);
      std::memcpy(bytes.data() + bytes.size() - 4, cell.get(), 4);
    }
    return bytes;
  }
  bool restore(SequenceId id, std::span<const uint8_t> state) override {
    EXPECT_TRUE(sequences_[id].empty());
    if (used_cells() + state.size() / 8 > cells_) return false;
    for (size_t at = 0; at < state.size(); at += 8) {
      uint32_t position;
      Token token;
      std::memcpy(&position, state.data() + at, 4);
      std::memcpy(&token, state.data() + at + 4, 4);
      sequences_[id][position] = std::make_shared<Token>(token);
    }
    return true;
  }

  bool abort_next = false, fail_next = false;
  size_t computations = 0, computed = 0, saved = 0, spans_computed = 0;

 private:
  size_t used_cells() const {
    std::set<const Token*> cells;
    for (const auto& [id, sequence] : sequences_) {
      for (const auto& [position, cell] : sequence) cells.insert(cell.get());
    }
    return cells.size();
  }
  const Kind kind_;
  const size_t cells_, capacity_;
  std::map<SequenceId, std::map<uint32_t, std::shared_ptr<Token>>> sequences_;
  std::vector<std::optional<Token>> answers_;
  std::vector<float> logits_;
};

Result<Token> greedy(const float* logits) { return static_cast<Token>(std::max_element(logits, logits + kVocabulary) - logits); }

// What a request gets from an engine that never saw anything else.
std::string cold_answer(FakeDecoder::Kind kind, std::vector<Token> tokens, uint32_t max_tokens) {
  std::string text;
  for (uint32_t i = 0; i < max_tokens; ++i) {
    const Token token = FakeDecoder::next(kind, tokens);
    if (token == kEnd) break;
    text += std::to_string(token) + " ";
    tokens.push_back(token);
  }
  return text;
}

struct Answer {
  std::string text;
  std::optional<StopReason> stop;
  Usage usage;
  uint32_t prompt_done = 0;
  bool started = false;
};

struct Engine {
  FakeDecoder decoder;
  std::map<uint64_t, Answer> answers;
  std::set<uint64_t> removed;
  std::vector<uint64_t> first_tokens;  // ids in the order of their first tokens
  StepLoop loop;

  Engine(FakeDecoder::Kind kind, StepLoop::Options options, size_t capacity = 64)
      : decoder(kind, options.kv_cells, capacity),
        loop(decoder, options,
             {.step = [this](engine_wire::Step step) { take(step); },
              .removed = [this](uint64_t id) { removed.insert(id); },
              .long_step = [](uint32_t) {}}) {}

  void take(const engine_wire::Step& step) {
    for (const auto& entry : step.entries) {
      Answer& answer = answers[entry.id];
      EXPECT_FALSE(answer.stop) << "something came after the end";
      if (entry.tokens > 0 && answer.text.empty()) first_tokens.push_back(entry.id);
      for (const Piece& piece : entry.pieces) answer.text += piece.text;
      answer.started = answer.started || entry.started;
      EXPECT_GE(std::max(entry.prompt_done, answer.prompt_done), answer.prompt_done);
      answer.prompt_done = std::max(answer.prompt_done, entry.prompt_done);
      if (entry.stop_reason) answer.stop = entry.stop_reason;
      if (entry.stop_reason) answer.usage = entry.usage;
    }
  }
  void ask(uint64_t id, std::vector<Token> prompt, uint32_t max_tokens = 4, uint64_t scope = 0, bool batch = false, Flow flow = {1, 1, 1}) {
    PreparedRequest request;
    request.id = id;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.scope = scope;
    request.batch = batch;
    request.flow = flow;
    request.sample = &greedy;
    request.answer = std::make_unique<PlainAnswer>(std::vector<std::string>());
    loop.start(std::move(request));
  }
  void ask_with_media(uint64_t id, std::vector<Token> prompt, std::vector<PromptSpan> spans, uint32_t max_tokens = 4) {
    PreparedRequest request;
    request.id = id;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.flow = {1, 1, 1};
    request.sample = &greedy;
    request.answer = std::make_unique<PlainAnswer>(std::vector<std::string>());
    request.spans = std::move(spans);
    loop.start(std::move(request));
  }
  void finish() {
    for (int i = 0; i < 100'000; ++i) {
      if (!loop.step_once() && !loop.step_once()) return;
    }
    FAIL() << "it does not come to an end";
  }
};

std::vector<Token> prompt(Token first, size_t count) {
  std::vector<Token> tokens(count);
  for (size_t i = 0; i < count; ++i) tokens[i] = static_cast<Token>((static_cast<size_t>(first) + i * 7) % kVocabulary);
  return tokens;
}

constexpr std::array kAllKinds{FakeDecoder::Kind::kFull, FakeDecoder::Kind::kWindow, FakeDecoder::Kind::kRecurrent};
const StepLoop::Options kSmall{.n_ctx = 200, .sequences = 4, .sequence_ids = 8, .kv_cells = 400, .host_cache_bytes = 1 << 20};

// Only its address is used.
std::shared_ptr<const MediaSpan> some_media() {
  static const int place = 0;
  return {std::shared_ptr<void>(), reinterpret_cast<const MediaSpan*>(&place)};
}

TEST(StepLoop, ASpanOfMediaIsComputedAloneAndOnce) {
  for (const auto kind : kAllKinds) {
    Engine engine(kind, kSmall, 16);
    auto tokens = prompt(1, 60);
    const std::vector<PromptSpan> spans = {{.begin = 10, .length = 20, .media = some_media()}, {.begin = 59, .length = 1, .media = some_media()}};
    for (const PromptSpan& span : spans) {
      for (size_t i = span.begin; i < span.end(); ++i) tokens[i] = -static_cast<Token>(i) - 1;
    }
    engine.ask(1, prompt(5, 30), 20);  // a stream beside it
    engine.ask_with_media(2, tokens, spans);
    engine.finish();
    EXPECT_EQ(engine.decoder.spans_computed, 2u);
    EXPECT_EQ(engine.answers[1].text, cold_answer(kind, prompt(5, 30), 20));
    EXPECT_EQ(engine.answers[2].text, cold_answer(kind, tokens, 4));
    if (kind != FakeDecoder::Kind::kFull) continue;
    auto longer = tokens;
    longer.push_back(7);
    engine.ask_with_media(3, longer, spans);
    engine.finish();
    EXPECT_EQ(engine.answers[3].usage.cached_prompt_tokens, 60u);
    EXPECT_EQ(engine.decoder.spans_computed, 2u) << "held like text";
  }
}

TEST(StepLoop, APrefixNeverEndsInsideASpan) {
  Engine engine(FakeDecoder::Kind::kFull, kSmall, 64);
  auto first = prompt(1, 40), second = prompt(1, 40);
  const std::vector<PromptSpan> spans = {{.begin = 10, .length = 20, .media = some_media()}};
  for (size_t i = 10; i < 30; ++i) {
    first[i] = -static_cast<Token>(i) - 1;
    second[i] = i < 20 ? first[i] : -1000 - static_cast<Token>(i);
  }
  engine.ask_with_media(1, first, spans);
  engine.finish();
  engine.ask_with_media(2, second, spans);
  engine.finish();
  EXPECT_EQ(engine.answers[2].usage.cached_prompt_tokens, 10u);
  EXPECT_EQ(engine.answers[2].text, cold_answer(FakeDecoder::Kind::kFull, second, 4));
}

TEST(StepLoop, AHeldPrefixIsNotComputedAgain) {
  Engine engine(FakeDecoder::Kind::kFull, kSmall);
  engine.ask(1, prompt(1, 100), 1);
  engine.finish();
  const size_t before = engine.decoder.computed;
  auto longer = prompt(1, 100);
  longer.push_back(3);
  engine.ask(2, longer, 1);
  engine.finish();
  EXPECT_EQ(engine.decoder.computed - before, 1u);
  EXPECT_EQ(engine.answers[2].usage.cached_prompt_tokens, 100u);
}

TEST(StepLoop, ASecondRequestWaitsForThePrefixThatTheFirstComputes) {
  Engine engine(FakeDecoder::Kind::kFull, kSmall, 16);
  for (uint64_t id = 1; id <= 4; ++id) {
    auto tokens = prompt(1, 90);
    tokens.push_back(static_cast<Token>(id));
    engine.ask(id, tokens, 2);
  }
  engine.finish();
  EXPECT_LE(engine.decoder.computed, 90u + 4 * 2) << "the prefix once, and what is each one's own";
  for (uint64_t id = 2; id <= 4; ++id) EXPECT_EQ(engine.answers[id].usage.cached_prompt_tokens, 90u);
}

TEST(StepLoop, AWaiterGoesOnWhenTheOneItWaitsForIsCancelled) {
  Engine engine(FakeDecoder::Kind::kFull, kSmall, 16);
  engine.ask(1, prompt(1, 100), 2);
  engine.ask(2, prompt(1, 100), 2);
  ASSERT_TRUE(engine.loop.step_once());
  ASSERT_TRUE(engine.loop.cancel(1));
  engine.finish();
  EXPECT_EQ(engine.answers[2].text, cold_answer(FakeDecoder::Kind::kFull, prompt(1, 100), 2));
  EXPECT_EQ(engine.removed, std::set<uint64_t>{1});
}

TEST(StepLoop, WhoCameFirstGoesFirstThoughItWasPreparedLater) {
  Engine engine(FakeDecoder::Kind::kFull, {.n_ctx = 400, .sequences = 4, .sequence_ids = 8, .kv_cells = 400, .host_cache_bytes = 0}, 16);
  engine.ask(1, prompt(1, 50), 350);
  ASSERT_TRUE(engine.loop.step_once());
  engine.ask(3, prompt(3, 20), 2);
  engine.ask(2, prompt(2, 20), 380);  // all cells, like the first
  ASSERT_TRUE(engine.loop.step_once());
  ASSERT_TRUE(engine.loop.cancel(1));
  engine.finish();
  EXPECT_EQ(engine.first_tokens, (std::vector<uint64_t>{2, 3}));
}

TEST(StepLoop, AnotherScopeSharesNothing) {
  Engine engine(FakeDecoder::Kind::kFull, kSmall);
  engine.ask(1, prompt(1, 100), 1, 7);
  engine.finish();
  engine.ask(2, prompt(1, 100), 1, 8);
  engine.finish();
  EXPECT_EQ(engine.answers[2].usage.cached_prompt_tokens, 0u);
}

TEST(StepLoop, APausedRequestGoesOnWithTheSameAnswer) {
  for (const auto kind : kAllKinds) {
    Engine engine(kind, kSmall, 16);
    engine.ask(1, prompt(9, 50), 40);
    for (int step = 0; step < 8; ++step) engine.loop.step_once();
    engine.loop.pause(1);
    EXPECT_FALSE(engine.loop.step_once());
    EXPECT_TRUE(engine.loop.resume(1, false));
    engine.finish();
    EXPECT_EQ(engine.answers[1].text, cold_answer(kind, prompt(9, 50), 40));
  }
}

TEST(StepLoop, AnInteractiveRequestOvertakesBatchPrompts) {
  Engine engine(FakeDecoder::Kind::kFull, kSmall, 16);
  engine.ask(1, prompt(1, 120), 2, 0, true);
  engine.ask(2, prompt(2, 120), 2, 0, true);
  engine.loop.step_once();
  engine.ask(3, prompt(3, 20), 2);
  engine.finish();
  ASSERT_EQ(engine.first_tokens.size(), 3u);
  EXPECT_EQ(engine.first_tokens[0], 3u);
}

TEST(StepLoop, AnInteractiveRequestGetsTheCellsOfBatchOnes) {
  StepLoop::Options options = kSmall;
  options.kv_cells = 256;
  Engine engine(FakeDecoder::Kind::kFull, options, 64);
  engine.ask(1, prompt(1, 100), 20, 0, true);
  engine.ask(2, prompt(2, 100), 20, 0, true);
  engine.loop.step_once();
  engine.ask(3, prompt(3, 100), 20);
  engine.finish();
  EXPECT_EQ(engine.first_tokens.front(), 3u);
  for (uint64_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(engine.answers[id].text, cold_answer(FakeDecoder::Kind::kFull, prompt(static_cast<Token>(id), 100), 20));
  }
}

TEST(StepLoop, ThePromptOfTheCallerThatWasServedLeastGoesFirst) {
  Engine engine(FakeDecoder::Kind::kFull, kSmall, 16);
  engine.ask(1, prompt(1, 100), 2, 0, false, {1, 1, 1});
  engine.ask(2, prompt(2, 100), 2, 0, false, {1, 1, 2});
  engine.loop.step_once();
  engine.loop.step_once();
  engine.ask(3, prompt(3, 16), 2, 0, false, {1, 2, 3});
  engine.finish();
  EXPECT_EQ(engine.first_tokens.front(), 3u);
}

TEST(StepLoop, PromptsOfEqualsAreReadyOneAfterTheOther) {
  StepLoop::Options options = kSmall;
  options.kv_cells = 800;
  Engine engine(FakeDecoder::Kind::kFull, options, 16);
  for (uint64_t id = 1; id <= 4; ++id) engine.ask(id, prompt(static_cast<Token>(id), 120), 2, 0, false, {1, id, id});
  size_t steps = 0;
  for (; engine.first_tokens.empty() && steps < 100; ++steps) engine.loop.step_once();
  EXPECT_LE(steps, 1 + 120 / 16 + 1) << "the first has the steps for itself";
  engine.finish();
  EXPECT_EQ(engine.first_tokens, (std::vector<uint64_t>{1, 2, 3, 4}));
}

TEST(StepLoop, ACallerThatHasHadItsShareLetsTheOthersGoFirstHoweverShortItsPrompts) {
  StepLoop::Options options = kSmall;
  options.kv_cells = 800;
  options.host_cache_bytes = 0;
  Engine engine(FakeDecoder::Kind::kFull, options, 16);
  engine.ask(100, prompt(50, 190), 2, 0, false, {1, 100, 100});
  size_t others = 0;  // of the other caller that are ready before the long prompt
  for (uint64_t id = 1; id <= 90 && !engine.answers[100].stop; ++id) {
    engine.ask(id, prompt(static_cast<Token>(id), 30), 2, 0, false, {1, 1, id});
    for (int step = 0; step < 50 && !engine.answers[id].stop; ++step) engine.loop.step_once();
    ++others;
  }
  EXPECT_TRUE(engine.answers[100].stop);
  EXPECT_LT(others, 90u);
}

TEST(StepLoop, WhatIsHeldIsCopiedBeforeItsCellsAreNeeded) {
  StepLoop::Options options = kSmall;
  options.kv_cells = 260;
  Engine engine(FakeDecoder::Kind::kFull, options);
  engine.ask(1, prompt(1, 150), 2);
  engine.finish();
  EXPECT_EQ(engine.decoder.saved, 1u) << "more than half of the cells";
  engine.ask(2, prompt(9, 150), 2);
  engine.finish();
  EXPECT_EQ(engine.decoder.saved, 2u) << "evicting the first took no other copy";
  engine.ask(3, prompt(1, 151), 2);
  engine.finish();
  EXPECT_GE(engine.answers[3].usage.cached_prompt_tokens, 150u);
}

TEST(StepLoop, AfterAFailedStepNothingIsReusedThatItMayHaveSpoiled) {
  for (const auto kind : kAllKinds) {
    Engine engine(kind, kSmall, 16);
    engine.ask(1, prompt(1, 50), 20);
    engine.finish();
    engine.ask(2, prompt(1, 40), 20);
    engine.ask(3, prompt(9, 50), 20);
    engine.loop.step_once();
    engine.decoder.fail_next = true;
    engine.finish();
    for (uint64_t id = 2; id <= 3; ++id) EXPECT_TRUE(engine.answers[id].stop);
    EXPECT_GT(std::ranges::count_if(engine.answers, [](const auto& answer) { return answer.second.stop == StopReason::kError; }), 0);
    auto longer = prompt(1, 50);
    longer.push_back(3);
    engine.ask(4, longer, 20);
    engine.ask(5, prompt(9, 50), 20);
    engine.finish();
    EXPECT_EQ(engine.answers[4].text, cold_answer(kind, longer, 20));
    EXPECT_EQ(engine.answers[5].text, cold_answer(kind, prompt(9, 50), 20));
  }
}

TEST(StepLoop, WithoutHostMemoryAnswersAreTheSame) {
  StepLoop::Options options = kSmall;
  options.host_cache_bytes = 0;
  Engine engine(FakeDecoder::Kind::kFull, options, 32);
  for (uint64_t id = 1; id <= 12; ++id) engine.ask(id, prompt(static_cast<Token>(id % 5), 60 + id), 6);
  engine.finish();
  for (uint64_t id = 1; id <= 12; ++id) {
    EXPECT_EQ(engine.answers[id].text, cold_answer(FakeDecoder::Kind::kFull, prompt(static_cast<Token>(id % 5), 60 + id), 6)) << id;
  }
}

// The property of the issue: whatever was asked, shared, paused, cancelled, aborted and evicted before, every answer is the cold one.
class StepLoopTrace : public ::testing::TestWithParam<FakeDecoder::Kind> {};

TEST_P(StepLoopTrace, RandomTracesGiveExactlyTheColdAnswers) {
  const FakeDecoder::Kind kind = GetParam();
  size_t reused = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](size_t n) { return random() % n; };
    StepLoop::Options options{.n_ctx = 160, .sequences = 1 + static_cast<uint32_t>(below(5)), .sequence_ids = 0, .kv_cells = static_cast<uint32_t>(160 + below(400)),
                              .host_cache_bytes = below(3) == 0 ? 0 : 2'000 + below(8'000)};
    options.sequence_ids = 2 * options.sequences;
    Engine engine(kind, options, 8 + below(60));
    struct Asked {
      std::vector<Token> prompt;
      uint32_t max_tokens;
      bool cancelled = false;
    };
    std::map<uint64_t, Asked> asked;
    std::vector<std::vector<Token>> prompts;
    std::set<uint64_t> paused;
    for (int event = 0; event < 250; ++event) {
      switch (below(8)) {
        case 0:
        case 1: {
          if (asked.size() >= 40) break;
          std::vector<Token> tokens;
          if (!prompts.empty() && below(3) > 0) {  // the beginning of an earlier one
            tokens = prompts[below(prompts.size())];
            tokens.resize(1 + below(tokens.size()));
          }
          while (tokens.size() < 2 || (tokens.size() < 150 && below(12) > 0)) tokens.push_back(static_cast<Token>(below(kVocabulary)));
          const uint64_t id = asked.size() + 1;
          const auto max_tokens = static_cast<uint32_t>(below(20));
          asked[id] = {tokens, max_tokens};
          prompts.push_back(tokens);
          engine.ask(id, tokens, max_tokens, below(2), below(3) == 0, {below(2), below(2), id});
          break;
        }
        case 2:
          if (!asked.empty()) {
            const uint64_t id = 1 + below(asked.size());
            if (engine.loop.cancel(id)) asked[id].cancelled = true;
            paused.erase(id);
          }
          break;
        case 3:
          if (!asked.empty()) {
            const uint64_t id = 1 + below(asked.size());
            engine.loop.pause(id);
            paused.insert(id);
          }
          break;
        case 4:
          if (!paused.empty()) {
            engine.loop.resume(*paused.begin(), below(2) == 0);
            paused.erase(paused.begin());
          }
          break;
        case 5: engine.decoder.abort_next = below(2) == 0; break;
        default:
          for (size_t n = below(6); n > 0; --n) engine.loop.step_once();
          if (!prompts.empty() && below(4) == 0) {  // a conversation goes on
            const uint64_t id = 1 + below(asked.size());
            if (engine.answers[id].stop && asked[id].prompt.size() < 100) {
              auto tokens = asked[id].prompt;
              std::string text = engine.answers[id].text;
              for (size_t at = 0; at < text.size() && tokens.size() < 140;) {
                tokens.push_back(std::atoi(text.c_str() + at));
                at = text.find(' ', at) + 1;
              }
              prompts.push_back(tokens);
            }
          }
      }
    }
    for (const uint64_t id : paused) engine.loop.resume(id, false);
    engine.finish();
    for (const auto& [id, request] : asked) {
      if (request.cancelled) {
        EXPECT_TRUE(engine.removed.contains(id));
        continue;
      }
      const Answer& answer = engine.answers[id];
      ASSERT_TRUE(answer.stop) << "seed " << seed << ", request " << id << " never ended";
      ASSERT_EQ(answer.text, cold_answer(kind, request.prompt, request.max_tokens)) << "seed " << seed << ", request " << id;
      reused += answer.usage.cached_prompt_tokens;
    }
  }
  EXPECT_GT(reused, kind == FakeDecoder::Kind::kRecurrent ? 50u : 1000u) << "the traces reuse prefixes at all";
}

INSTANTIATE_TEST_SUITE_P(Memories, StepLoopTrace,
                         ::testing::ValuesIn(kAllKinds));

}  // namespace
}  // namespace inferd::engine
