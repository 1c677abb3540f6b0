#include "engine/media_items.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace inferd::engine {
namespace {

using Form = std::vector<uint32_t>;
using Bytes = std::vector<unsigned char>;

const std::vector<PromptSpan> kSpans = {{3, 4, nullptr}, {7, 1, nullptr}, {10, 5, nullptr}};  // the first two touch

TEST(MediaItems, ABeginningNeverEndsInsideASpan) {
  const size_t expected[] = {0, 1, 2, 3, 3, 3, 3, 7, 8, 9, 10, 10, 10, 10, 10, 15, 16};
  for (size_t length = 0; length < std::size(expected); ++length) EXPECT_EQ(whole_spans(length, kSpans), expected[length]) << length;
  EXPECT_EQ(whole_spans(5, {}), 5u);
}

TEST(MediaItems, ASpanIsFoundWhereItBeginsAndOnlyThere) {
  for (size_t position = 0; position < 17; ++position) {
    const PromptSpan* const span = span_at(position, kSpans);
    const bool begins = position == 3 || position == 7 || position == 10;
    ASSERT_EQ(span != nullptr, begins) << position;
    if (begins) {
      EXPECT_EQ(span->begin, position);
    }
  }
}

TEST(MediaItems, TextEndsAtTheNextSpanOrWhereItIsTold) {
  EXPECT_EQ(end_of_text(0, 20, kSpans), 3u);
  EXPECT_EQ(end_of_text(0, 2, kSpans), 2u);
  EXPECT_EQ(end_of_text(8, 20, kSpans), 10u);
  EXPECT_EQ(end_of_text(15, 20, kSpans), 20u);
  EXPECT_EQ(end_of_text(4, 20, {}), 20u);
}

TEST(MediaItems, AppendedMediaKeepTheirPlaces) {
  std::vector<Token> prompt = {5, 6};
  std::vector<PromptSpan> spans;
  const MediaTokens media{{7, -1, -2, 8}, {{1, 2, nullptr}}};
  append(media, prompt, spans);
  append(media, prompt, spans);
  EXPECT_EQ(prompt, (std::vector<Token>{5, 6, 7, -1, -2, 8, 7, -1, -2, 8}));
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].begin, 3u);
  EXPECT_EQ(spans[1].begin, 7u);
  EXPECT_EQ(spans[1].end(), 9u);
}

TEST(PrivateTokens, EqualMediaHaveEqualRuns) {
  const PrivateTokens tokens;
  const auto run = [&] { return tokens.run(tokens.digest(Form{0, 8, 8}, Bytes(192, 7)), 0, 100); };
  EXPECT_EQ(run(), run());
  EXPECT_EQ(run().size(), 100u);
  EXPECT_TRUE(std::ranges::all_of(run(), [](Token token) { return token < 0; }));
}

TEST(PrivateTokens, AnyDifferenceGivesAnotherRunFromTheFirstTokenOn) {
  const PrivateTokens tokens;
  Bytes bytes(192, 7);
  const auto first = [&](const Form& form, uint32_t part) { return tokens.run(tokens.digest(form, bytes), part, 4); };
  std::set<std::vector<Token>> runs = {first({0, 8, 8}, 0), first({1, 8, 8}, 0), first({0, 4, 16}, 0), first({0, 8, 8}, 1), first({0, 8}, 0)};
  bytes.back() ^= 1;
  runs.insert(first({0, 8, 8}, 0));
  EXPECT_EQ(runs.size(), 6u);
  std::set<Token> beginnings;
  for (const auto& run : runs) beginnings.insert(run.front());
  EXPECT_EQ(beginnings.size(), 6u);
}

TEST(PrivateTokens, TheTokensOfARunDiffer) {
  const PrivateTokens tokens;
  const auto run = tokens.run(tokens.digest(Form{}, {}), 0, 1000);
  EXPECT_GE(std::set<Token>(run.begin(), run.end()).size(), 999u);  // 1000 of 2^31: one pair may meet
}

TEST(PrivateTokens, AnotherProcessHasOtherRuns) {
  const PrivateTokens one, other;
  EXPECT_NE(one.run(one.digest(Form{1}, Bytes(10)), 0, 4), other.run(other.digest(Form{1}, Bytes(10)), 0, 4));
  const PrivateTokens same(PrivateTokens::Key{1}), again(PrivateTokens::Key{1});
  EXPECT_EQ(same.run(same.digest(Form{1}, Bytes(10)), 0, 4), again.run(again.digest(Form{1}, Bytes(10)), 0, 4));
}

}  // namespace
}  // namespace inferd::engine
