#include "schedule/breaker.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

using std::chrono::milliseconds;

class BreakerTest : public ::testing::Test {
 protected:
  static Breaker::Time at(int ms) { return Breaker::Time(milliseconds(ms)); }
  Breaker breaker_{Breaker::Options{2, milliseconds(500), milliseconds(100)}};
};

TEST_F(BreakerTest, OpensAtTheThresholdAndClosesAfterOneGoodProbe) {
  breaker_.failed(at(0));
  EXPECT_TRUE(breaker_.allows(at(1)));
  breaker_.failed(at(10));
  EXPECT_FALSE(breaker_.allows(at(50)));
  ASSERT_TRUE(breaker_.allows(at(110)));
  breaker_.sent(at(110));
  EXPECT_FALSE(breaker_.allows(at(111))) << "one probe at a time";
  breaker_.succeeded();
  EXPECT_TRUE(breaker_.allows(at(112)));
}

TEST_F(BreakerTest, AFailedProbeOpensItAgain) {
  breaker_.failed(at(0));
  breaker_.failed(at(1));
  breaker_.sent(at(101));
  breaker_.failed(at(102));
  EXPECT_FALSE(breaker_.allows(at(150)));
  EXPECT_TRUE(breaker_.allows(at(202)));
}

TEST_F(BreakerTest, ACancelledProbeLetsTheNextOneThrough) {
  breaker_.failed(at(0));
  breaker_.failed(at(1));
  breaker_.sent(at(101));
  breaker_.no_verdict();
  EXPECT_TRUE(breaker_.allows(at(102)));
}

TEST_F(BreakerTest, SuccessForgetsFailures) {
  breaker_.failed(at(0));
  breaker_.succeeded();
  breaker_.failed(at(1));
  EXPECT_TRUE(breaker_.allows(at(2)));
}

TEST_F(BreakerTest, FailuresFurtherApartThanTheWindowDoNotAddUp) {
  breaker_.failed(at(0));
  breaker_.failed(at(600));
  EXPECT_TRUE(breaker_.allows(at(601)));
}

TEST_F(BreakerTest, FailuresInFlightDoNotExtendTheOpenPeriod) {
  breaker_.failed(at(0));
  breaker_.failed(at(1));
  breaker_.failed(at(90));
  EXPECT_TRUE(breaker_.allows(at(101)));
}

}  // namespace
}  // namespace inferd
