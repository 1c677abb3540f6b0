#include "store/byte_ranges.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace inferd::store {
namespace {

TEST(ByteRanges, JoinsWhatTouches) {
  ByteRanges ranges;
  ranges.add({10, 20});
  ranges.add({30, 40});
  ranges.add({20, 30});
  EXPECT_EQ(ranges.ends_by_begin(), (std::map<uint64_t, uint64_t>{{10, 40}}));
  EXPECT_EQ(ranges.contiguous(), 0u);
  EXPECT_EQ(ranges.first_gap(100, 4), (ByteRanges::Range{0, 4}));
  EXPECT_EQ(ranges.first_gap(100, 50), (ByteRanges::Range{0, 10}));
  ranges.add({0, 10});
  EXPECT_EQ(ranges.contiguous(), 40u);
  EXPECT_EQ(ranges.first_gap(100, 1000), (ByteRanges::Range{40, 100}));
  EXPECT_EQ(ranges.first_gap(40, 1000), std::nullopt);
  ranges.cut(15);
  EXPECT_EQ(ranges.total(), 15u);
  ranges.cut(0);
  EXPECT_EQ(ranges.total(), 0u);
}

TEST(ByteRanges, IsTheSetOfItsBytes) {
  std::minstd_rand random(7);
  ByteRanges ranges;
  std::vector<bool> bytes(64);
  for (int i = 0; i < 2000; ++i) {
    if (i % 50 == 0) {
      ranges.clear();
      bytes.assign(64, false);
    }
    const uint64_t a = random() % 64, b = a + random() % (64 - a);
    ranges.add({a, b});
    for (uint64_t at = a; at < b; ++at) bytes[at] = true;
    uint64_t contiguous = 0;
    while (contiguous < 64 && bytes[contiguous]) ++contiguous;
    ASSERT_EQ(ranges.contiguous(), contiguous);
    ASSERT_EQ(ranges.total(), static_cast<uint64_t>(std::count(bytes.begin(), bytes.end(), true)));
    uint64_t end = contiguous;
    while (end < 64 && !bytes[end]) ++end;
    const auto gap = ranges.first_gap(64, 64);
    ASSERT_EQ(gap.has_value(), contiguous < 64);
    ASSERT_TRUE(!gap || *gap == (ByteRanges::Range{contiguous, end}));
  }
}

}  // namespace
}  // namespace inferd::store
