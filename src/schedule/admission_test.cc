#include "schedule/admission.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

class TestPlace : public Admission::Place {
 public:
  int grants = 0;

 private:
  void granted() override { ++grants; }
};

TEST(Admission, RunsItsNumberLetsSomeWaitAndRefusesTheNext) {
  Admission admission(2);
  TestPlace a, b, c, d;
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, a));
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, b));
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, c));
  const auto refused = admission.enter("e", Priority::kInteractive, d);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kQueueFull);
  EXPECT_EQ(refused.error().message, "queue full");
  EXPECT_TRUE(a.running());
  EXPECT_FALSE(b.running());
  admission.leave(a);
  EXPECT_TRUE(b.running()) << "who waited longest runs next";
  EXPECT_EQ(b.grants, 1);
  EXPECT_FALSE(c.running());
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, d)) << "a place is free again";
}

TEST(Admission, LeavingTheQueueFreesAWaitingPlaceAndGrantsNothing) {
  Admission admission(1);
  TestPlace a, b, c;
  ASSERT_TRUE(admission.enter("e", Priority::kInteractive, a));
  ASSERT_TRUE(admission.enter("e", Priority::kInteractive, b));
  admission.leave(b);
  admission.leave(b);
  EXPECT_EQ(admission.waiting(), 0u);
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, c));
  EXPECT_FALSE(c.running());
}

TEST(Admission, WithoutWaitingPlacesOnlyRunningOnesCount) {
  Admission admission(0);
  TestPlace a, b;
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, a));
  EXPECT_FALSE(admission.enter("e", Priority::kInteractive, b));
}

TEST(Admission, EntriesRunIndependentlyAndShareTheWaitingPlaces) {
  Admission admission(1);
  admission.set_limit("e", 2);
  TestPlace a, b, c, d, e;
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, a));
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, b));
  EXPECT_TRUE(b.running());
  EXPECT_TRUE(admission.enter("f", Priority::kInteractive, c));
  EXPECT_TRUE(c.running());
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, d));
  EXPECT_FALSE(admission.enter("f", Priority::kInteractive, e));
}

TEST(Admission, BatchFillsAtMostHalfOfTheWaitingPlaces) {
  Admission admission(4);
  TestPlace running, batch[3], chat[2];
  ASSERT_TRUE(admission.enter("e", Priority::kInteractive, running));
  EXPECT_TRUE(admission.enter("e", Priority::kBatch, batch[0]));
  EXPECT_TRUE(admission.enter("e", Priority::kBatch, batch[1]));
  EXPECT_FALSE(admission.enter("e", Priority::kBatch, batch[2]));
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, chat[0]));
  EXPECT_TRUE(admission.enter("e", Priority::kInteractive, chat[1]));
}

}  // namespace
}  // namespace inferd
