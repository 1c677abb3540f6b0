#include "ctl/store_progress.h"

#include <gtest/gtest.h>

namespace inferd::ctl {
namespace {

constexpr uint64_t kMiB = 1u << 20;

TEST(StoreProgress, ABarWithBytesRateAndTimeLeft) {
  const StoreStep step{"download", "m", 10 * kMiB, 40 * kMiB, 5.0 * kMiB};
  EXPECT_EQ(step_text(step, 200), "downloading m [######------------------] 25 %  10 MiB of 40 MiB, 5 MiB/s, 6 s left");
}

TEST(StoreProgress, WhatIsNotKnownIsLeftOut) {
  EXPECT_EQ(step_text({"download", "m", 10 * kMiB, std::nullopt, std::nullopt}, 200), "downloading m 10 MiB");
  EXPECT_EQ(step_text({"copy", "m", 0, 40 * kMiB, std::nullopt}, 200), "copying m [------------------------] 0 %  0 KiB of 40 MiB");
  EXPECT_EQ(step_text({"verify", "m", 0, 0, 0.0}, 200), "checking m 0 KiB of 0 KiB");
}

TEST(StoreProgress, ANarrowTerminalLosesTheNameFirst) {
  const StoreStep step{"verify", "a-model-with-a-long-name", 20 * kMiB, 40 * kMiB, 10.0 * kMiB};
  EXPECT_EQ(step_text(step, 79), "checking [############------------] 50 %  20 MiB of 40 MiB, 10 MiB/s, 2 s left");
  EXPECT_EQ(step_text(step, 12), "checking [##");
}

TEST(StoreProgress, ANameCannotSteerTheTerminal) {
  EXPECT_EQ(step_text({"verify", "a\x1b[2Jb\xC2\x9B", 0, std::nullopt, std::nullopt}, 200), "checking a?[2Jb? 0 KiB");
}

TEST(StoreProgress, TheRateIsOfTheLastSeconds) {
  TransferRate rate;
  const TransferRate::Clock::time_point begin{};
  const auto at = [&](int seconds) { return begin + std::chrono::seconds(seconds); };
  EXPECT_EQ(rate.bytes_per_second(), std::nullopt);
  rate.add(at(0), 1000);  // of an earlier attempt
  EXPECT_EQ(rate.bytes_per_second(), std::nullopt);
  rate.add(at(1), 1100);
  EXPECT_DOUBLE_EQ(*rate.bytes_per_second(), 100);
  for (int second = 2; second <= 20; ++second) rate.add(at(second), 1100);
  EXPECT_DOUBLE_EQ(*rate.bytes_per_second(), 0);
  rate.add(at(21), 50);  // from zero
  EXPECT_EQ(rate.bytes_per_second(), std::nullopt);
}

TEST(StoreProgress, Durations) {
  EXPECT_EQ(duration_text(0), "0 s");
  EXPECT_EQ(duration_text(59), "59 s");
  EXPECT_EQ(duration_text(125), "2 min 5 s");
  EXPECT_EQ(duration_text(5400), "1 h 30 min");
}

}  // namespace
}  // namespace inferd::ctl
