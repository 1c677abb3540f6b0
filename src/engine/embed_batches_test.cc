#include "engine/embed_batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace inferd::engine {
namespace {

using Batches = std::vector<std::vector<uint32_t>>;

size_t tokens_of(const std::vector<uint32_t>& batch, const std::vector<uint32_t>& lengths) {
  return std::accumulate(batch.begin(), batch.end(), size_t{0}, [&](size_t sum, uint32_t place) { return sum + lengths[place]; });
}

void expect_each_place_once(const Batches& batches, size_t inputs) {
  std::vector<uint32_t> seen;
  for (const auto& batch : batches) {
    EXPECT_FALSE(batch.empty());
    seen.insert(seen.end(), batch.begin(), batch.end());
  }
  std::ranges::sort(seen);
  ASSERT_EQ(seen.size(), inputs);
  for (uint32_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], i);
}

TEST(EmbedBatches, NothingMakesNoBatch) { EXPECT_TRUE(pack_batches({}, {}).empty()); }

TEST(EmbedBatches, WhatFitsIsOneBatchTheLongestFirst) {
  EXPECT_EQ(pack_batches(std::vector<uint32_t>{3, 200, 9}, {.tokens = 512, .inputs = 8}), (Batches{{1, 2, 0}}));
}

TEST(EmbedBatches, EqualLengthsKeepTheirOrder) {
  EXPECT_EQ(pack_batches(std::vector<uint32_t>{4, 4, 4, 4}, {.tokens = 8, .inputs = 8}), (Batches{{0, 1}, {2, 3}}));
}

TEST(EmbedBatches, ARestIsFilledWithTheLongestThatFits) {
  EXPECT_EQ(pack_batches(std::vector<uint32_t>{500, 12, 300, 13, 212}, {.tokens = 512, .inputs = 8}), (Batches{{0, 1}, {2, 4}, {3}}));
}

TEST(EmbedBatches, AnInputBeyondTheTokensIsAlone) {
  EXPECT_EQ(pack_batches(std::vector<uint32_t>{1, 2000, 512, 513}, {.tokens = 512, .inputs = 8}), (Batches{{1}, {3}, {2}, {0}}));
}

TEST(EmbedBatches, TheNumberOfInputsIsBoundedToo) {
  const std::vector<uint32_t> lengths(10, 3);
  const auto batches = pack_batches(lengths, {.tokens = 512, .inputs = 4});
  ASSERT_EQ(batches.size(), 3u);
  EXPECT_EQ(batches[0].size(), 4u);
  EXPECT_EQ(batches[2].size(), 2u);
  expect_each_place_once(batches, lengths.size());
}

TEST(EmbedBatches, OneInputABatchWhereAModelTakesNoMore) {
  const std::vector<uint32_t> lengths{1, 2, 3};
  EXPECT_EQ(pack_batches(lengths, {.tokens = 512, .inputs = 1}), (Batches{{2}, {1}, {0}}));
}

TEST(EmbedBatches, ManyTextsFillTheirBatches) {
  std::mt19937 random(1);
  std::uniform_int_distribution<uint32_t> length(1, 500);
  std::vector<uint32_t> lengths(10'000);
  for (auto& each : lengths) each = length(random);
  const BatchLimits limits;
  const auto batches = pack_batches(lengths, limits);
  expect_each_place_once(batches, lengths.size());
  size_t all = 0;
  for (const auto& batch : batches) {
    const size_t tokens = tokens_of(batch, lengths);
    EXPECT_LE(tokens, limits.tokens);
    EXPECT_LE(batch.size(), limits.inputs);
    all += tokens;
  }
  EXPECT_LE(batches.size(), all / limits.tokens + all / limits.tokens / 50 + 1) << "more than 2 % of the room is empty";
}

TEST(EmbedBatches, RandomLengthsKeepBothBounds) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    const BatchLimits limits{.tokens = 1 + random() % 64, .inputs = 1 + random() % 6};
    std::vector<uint32_t> lengths(random() % 50);
    for (auto& each : lengths) each = 1 + static_cast<uint32_t>(random() % 90);
    const auto batches = pack_batches(lengths, limits);
    expect_each_place_once(batches, lengths.size());
    for (const auto& batch : batches) {
      EXPECT_LE(batch.size(), limits.inputs);
      if (batch.size() > 1) {
        EXPECT_LE(tokens_of(batch, lengths), limits.tokens);
      }
    }
  }
}

}  // namespace
}  // namespace inferd::engine
