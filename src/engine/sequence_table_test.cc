#include "engine/sequence_table.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>

namespace inferd::engine {
namespace {

constexpr auto kAll = [](SequenceId, size_t shared) { return shared; };

std::vector<Token> tokens(Token first, size_t count) {
  std::vector<Token> list(count);
  std::iota(list.begin(), list.end(), first);
  return list;
}

// Admits and computes the whole prompt.
SequenceId run(SequenceTable& table, const std::vector<Token>& prompt, size_t limit) {
  const auto plan = table.plan(prompt, limit, 0, kAll);
  if (!plan) return -1;
  table.admit(*plan, limit, 0);
  for (size_t i = plan->shared; i < prompt.size(); ++i) table.append(plan->sequence, prompt[i]);
  return plan->sequence;
}

TEST(SequenceTable, TheLastTokenOfAPromptIsNeverReused) {
  EXPECT_EQ(SequenceTable::common_prefix(tokens(0, 5), tokens(0, 5)), 4u);
  EXPECT_EQ(SequenceTable::common_prefix(tokens(0, 9), tokens(0, 5)), 4u);
  EXPECT_EQ(SequenceTable::common_prefix(tokens(0, 3), tokens(0, 5)), 3u);
  EXPECT_EQ(SequenceTable::common_prefix(tokens(0, 3), {}), 0u);
}

TEST(SequenceTable, AFinishedConversationIsContinuedInPlace) {
  SequenceTable table(4, 100);
  const auto first = run(table, tokens(0, 10), 20);
  table.hold(first);
  const auto plan = table.plan(tokens(0, 15), 20, 0, kAll);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->donor, first);
  EXPECT_EQ(plan->sequence, first);
  EXPECT_EQ(plan->shared, 10u);
}

TEST(SequenceTable, ARunningPrefixIsSharedAndItsCellsCountOnce) {
  SequenceTable table(4, 30);
  const auto first = run(table, tokens(0, 20), 20);
  EXPECT_EQ(table.used_cells(), 20u);
  auto prompt = tokens(0, 18);
  prompt.push_back(777);
  const auto second = run(table, prompt, 25);
  ASSERT_GE(second, 0) << "25 more cells would not fit, 7 do";
  EXPECT_NE(second, first);
  EXPECT_EQ(table.used_cells(), 21u);
  table.free(first);
  EXPECT_EQ(table.used_cells(), 19u) << "the shared cells are still in use";
}

TEST(SequenceTable, WhatARunningOneMayStillNeedIsNotGivenAway) {
  SequenceTable table(4, 30);
  ASSERT_GE(run(table, tokens(0, 5), 20), 0);
  EXPECT_FALSE(table.plan(tokens(100, 5), 11, 0, kAll));
  EXPECT_TRUE(table.plan(tokens(100, 5), 10, 0, kAll));
}

TEST(SequenceTable, TheLeastRecentlyUsedFinishedOneIsEvicted) {
  SequenceTable table(3, 30);
  const auto a = run(table, tokens(0, 10), 10), b = run(table, tokens(100, 10), 10);
  table.hold(a);
  table.hold(b);
  const auto plan = table.plan(tokens(200, 10), 20, 0, kAll);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->evict, std::vector<SequenceId>{a});
}

TEST(SequenceTable, WithoutAFreePlaceAFinishedOneMakesRoom) {
  SequenceTable table(1, 100);
  table.hold(run(table, tokens(0, 10), 10));
  const auto plan = table.plan(tokens(50, 3), 3, 0, kAll);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->sequence, 0);
  EXPECT_EQ(plan->evict, std::vector<SequenceId>{0});
}

TEST(SequenceTable, ADonorWithoutRoomBesideItIsTrimmedAndTakenOver) {
  SequenceTable table(1, 100);
  table.hold(run(table, tokens(0, 10), 10));
  auto prompt = tokens(0, 6);
  prompt.push_back(777);
  const auto plan = table.plan(prompt, 8, 0, kAll);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->sequence, plan->donor);
  EXPECT_EQ(plan->shared, 6u);
  table.admit(*plan, 8, 0);
  EXPECT_EQ(table.used_cells(), 6u);
}

TEST(SequenceTable, AMemoryThatCannotReuseAPrefixStartsCold) {
  SequenceTable table(4, 100);
  table.hold(run(table, tokens(0, 10), 10));
  const auto plan = table.plan(tokens(0, 15), 20, 0, [](SequenceId, size_t) { return size_t{0}; });
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->donor, -1);
  EXPECT_EQ(plan->shared, 0u);
}

TEST(SequenceTable, APrefixOfAnotherScopeIsNotFound) {
  SequenceTable table(4, 100);
  table.hold(run(table, tokens(0, 10), 10));
  EXPECT_EQ(table.plan(tokens(0, 10), 10, 1, kAll)->shared, 0u);
  EXPECT_EQ(table.plan(tokens(0, 10), 10, 0, kAll)->shared, 9u);
}

TEST(SequenceTable, ExclusiveCellsAreThoseThatNobodyElseHas) {
  SequenceTable table(4, 100);
  const auto first = run(table, tokens(0, 20), 20);
  EXPECT_EQ(table.exclusive_cells(first), 20u);
  auto prompt = tokens(0, 18);
  prompt.push_back(777);
  const auto second = run(table, prompt, 25);
  EXPECT_EQ(table.exclusive_cells(first), 2u);
  EXPECT_EQ(table.exclusive_cells(second), 1u);
}

// A random trace: the counted cells are always those of the union, never beyond the capacity, and every running sequence can grow
// to its limit.
constexpr size_t kCells = 200;
TEST(SequenceTable, RandomTracesNeverRunOutOfCells) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    SequenceTable table(6, kCells);
    std::vector<SequenceId> running;
    for (int step = 0; step < 400; ++step) {
      if (running.size() < 4 && random() % 2 == 0) {
        auto prompt = tokens(static_cast<Token>(random() % 2 * 1000), 1 + random() % 40);
        if (random() % 2 == 0) prompt.back() = static_cast<Token>(random());
        const size_t limit = prompt.size() + random() % 30;
        if (const auto id = run(table, prompt, limit); id >= 0) running.push_back(id);
      } else if (!running.empty()) {
        const size_t at = random() % running.size();
        const auto id = running[at];
        if (table[id].tokens.size() < table[id].limit && random() % 4 != 0) {
          table.append(id, static_cast<Token>(random() % 10));
        } else {
          random() % 3 == 0 ? table.free(id) : table.hold(id);
          running.erase(running.begin() + static_cast<ptrdiff_t>(at));
        }
      }
      std::map<uint32_t, int> in_use;
      for (size_t i = 0; i < table.size(); ++i) {
        for (const uint32_t cell : table[static_cast<SequenceId>(i)].cells) ++in_use[cell];
      }
      ASSERT_EQ(in_use.size(), table.used_cells());
      ASSERT_LE(table.used_cells(), kCells);
    }
    size_t promised = 0;
    for (const auto id : running) promised += table[id].limit - table[id].tokens.size();
    size_t held = 0;
    for (size_t i = 0; i < table.size(); ++i) held += table[static_cast<SequenceId>(i)].state == SequenceTable::State::kHeld;
    EXPECT_LE(table.used_cells() + promised, kCells + (held > 0 ? kCells : 0));
  }
}

}  // namespace
}  // namespace inferd::engine
