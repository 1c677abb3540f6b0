#include "engine/step_times.h"

#include <gtest/gtest.h>

namespace inferd::engine {
namespace {

// A machine that takes 6 ms for the weights and 3 ms a token.
double machine(size_t tokens) { return 6 + 3 * static_cast<double>(tokens); }

StepTimes learnt() {
  StepTimes times;
  for (int round = 0; round < 20; ++round) {
    for (const size_t tokens : {1u, 2u, 4u, 8u, 16u, 32u, 64u, 128u}) times.learn(tokens, machine(tokens));
  }
  return times;
}

TEST(StepTimes, MeasuredSizesArePredictedAsMeasured) {
  const StepTimes times = learnt();
  EXPECT_NEAR(times.predicted_ms(1), machine(1), 0.1);
  EXPECT_NEAR(times.predicted_ms(64), machine(64), 1);
  EXPECT_NEAR(times.predicted_ms(512), machine(512), 30) << "from the nearest size that was measured";
}

TEST(StepTimes, AMachineThatBecomesSlowerIsLearnt) {
  StepTimes times = learnt();
  for (int i = 0; i < 30; ++i) times.learn(8, 3 * machine(8));
  EXPECT_NEAR(times.predicted_ms(8), 3 * machine(8), 1);
}

TEST(StepTimes, ASliceIsAsLargeAsTheTimeAllows) {
  const StepTimes times = learnt();
  const size_t tokens = times.within(200, 512);
  EXPECT_GT(tokens, 50u);
  EXPECT_LT(tokens, 75u);
  EXPECT_EQ(times.within(1e9, 512), 512u);
  EXPECT_EQ(times.within(0, 512), 1u);
}

TEST(StepTimes, APoliteSliceKeepsThePaceOfStreamsAndThePromptMoving) {
  const StepTimes times = learnt();
  const size_t beside_many = times.polite_slice(8, 512);
  EXPECT_LE(times.predicted_ms(8 + beside_many), 2.4 * times.predicted_ms(8));
  EXPECT_GE(beside_many, 5u);
  const size_t beside_one = times.polite_slice(1, 512);
  EXPECT_GE(static_cast<double>(beside_one) / times.predicted_ms(1 + beside_one), 0.5 * 128 / times.predicted_ms(128)) << "half of the lone speed";
  EXPECT_EQ(times.polite_slice(0, 512), 512u);
}

}  // namespace
}  // namespace inferd::engine
