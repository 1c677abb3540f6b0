#include "engine/parked_states.h"

#include <gtest/gtest.h>

namespace inferd::engine {
namespace {

ParkedStates::State state(std::vector<Token> tokens, size_t bytes) { return {0, std::move(tokens), std::vector<uint8_t>(bytes)}; }

TEST(ParkedStates, TheLongestCommonBeginningIsFound) {
  ParkedStates parked(100);
  parked.add(state({1, 2, 3}, 10));
  parked.add(state({1, 2, 9, 9, 9}, 10));
  const std::vector<Token> prompt = {1, 2, 3, 4};
  const auto match = parked.find(prompt, 0, false);
  ASSERT_NE(match.state, nullptr);
  EXPECT_EQ(match.shared, 3u);
  EXPECT_EQ(match.state->tokens, (std::vector<Token>{1, 2, 3}));
  EXPECT_EQ(parked.find(std::vector<Token>{7, 7}, 0, false).state, nullptr);
  EXPECT_EQ(parked.find(std::vector<Token>{1, 2, 3}, 0, false).shared, 2u) << "the last token has to be computed";
}

TEST(ParkedStates, AnotherScopeFindsNothing) {
  ParkedStates parked(100);
  parked.add(state({1, 2, 3}, 10));
  EXPECT_EQ(parked.find(std::vector<Token>{1, 2, 3, 4}, 7, false).state, nullptr);
}

TEST(ParkedStates, AStateThatCannotBeCutIsFoundOnlyWhole) {
  ParkedStates parked(100, true);
  parked.add(state({1, 2}, 10));
  parked.add(state({1, 2, 9, 9}, 10));
  EXPECT_EQ(parked.size(), 2u) << "the beginning is of use by itself";
  EXPECT_EQ(parked.find(std::vector<Token>{1, 2, 9, 4}, 0, true).shared, 2u);
}

TEST(ParkedStates, AContinuedConversationReplacesItsBeginning) {
  ParkedStates parked(100);
  parked.add(state({1, 2}, 10));
  parked.add(state({1, 2, 3}, 20));
  EXPECT_EQ(parked.size(), 1u);
  EXPECT_EQ(parked.bytes(), 20u);
}

TEST(ParkedStates, ALongerStateCoversItsBeginningsUnlessItCannotBeCut) {
  ParkedStates parked(100), uncut(100, true);
  parked.add(state({1, 2, 3}, 10));
  uncut.add(state({1, 2, 3}, 10));
  const std::vector<Token> beginning = {1, 2}, all = {1, 2, 3}, more = {1, 2, 3, 4}, other = {1, 9};
  EXPECT_TRUE(parked.covers(beginning, 0) && parked.covers(all, 0));
  EXPECT_FALSE(parked.covers(more, 0) || parked.covers(other, 0) || parked.covers(all, 7));
  EXPECT_TRUE(uncut.covers(all, 0));
  EXPECT_FALSE(uncut.covers(beginning, 0));
}

TEST(ParkedStates, TheLeastRecentlyUsedGoesBeyondTheBudget) {
  ParkedStates parked(30);
  parked.add(state({1}, 10));
  parked.add(state({2}, 10));
  parked.add(state({3}, 10));
  ASSERT_NE(parked.find(std::vector<Token>{1, 5}, 0, false).state, nullptr);
  parked.add(state({4}, 10));
  EXPECT_EQ(parked.bytes(), 30u);
  EXPECT_EQ(parked.find(std::vector<Token>{2, 5}, 0, false).state, nullptr);
  EXPECT_NE(parked.find(std::vector<Token>{1, 5}, 0, false).state, nullptr);
  parked.add(state({8}, 31));
  EXPECT_EQ(parked.find(std::vector<Token>{8, 5}, 0, false).state, nullptr) << "larger than the budget";
}

}  // namespace
}  // namespace inferd::engine
