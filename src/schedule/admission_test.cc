#include "schedule/admission.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace inferd {
namespace {

class TestPlace : public Admission::Place {
 public:
  int grants = 0, pauses = 0;
  std::vector<size_t> positions;

 private:
  void granted() override { ++grants; }
  void paused() override { ++pauses; }
  void moved(size_t position) override { positions.push_back(position); }
};

TEST(Admission, RunsItsNumberLetsSomeWaitAndRefusesTheNext) {
  Admission admission(2);
  TestPlace a, b, c, d;
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, a));
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, b));
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, c));
  const auto refused = admission.enter("e", {Priority::kInteractive, {}, false}, d);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kQueueFull);
  EXPECT_EQ(refused.error().message, "queue full");
  EXPECT_TRUE(a.running());
  EXPECT_FALSE(b.running());
  admission.leave(a);
  EXPECT_TRUE(b.running()) << "who waited longest runs next";
  EXPECT_EQ(b.grants, 1);
  EXPECT_FALSE(c.running());
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, d)) << "a place is free again";
}

TEST(Admission, LeavingTheQueueFreesAWaitingPlaceAndGrantsNothing) {
  Admission admission(1);
  TestPlace a, b, c;
  ASSERT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, a));
  ASSERT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, b));
  admission.leave(b);
  admission.leave(b);
  EXPECT_EQ(admission.waiting(), 0u);
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, c));
  EXPECT_FALSE(c.running());
}

TEST(Admission, WithoutWaitingPlacesOnlyRunningOnesCount) {
  Admission admission(0);
  TestPlace a, b;
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, a));
  EXPECT_FALSE(admission.enter("e", {Priority::kInteractive, {}, false}, b));
}

TEST(Admission, EntriesRunIndependentlyAndShareTheWaitingPlaces) {
  Admission admission(1);
  admission.set_limit("e", 2, false);
  TestPlace a, b, c, d, e;
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, a));
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, b));
  EXPECT_TRUE(b.running());
  EXPECT_TRUE(admission.enter("f", {Priority::kInteractive, {}, false}, c));
  EXPECT_TRUE(c.running());
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, d));
  EXPECT_FALSE(admission.enter("f", {Priority::kInteractive, {}, false}, e));
}

TEST(Admission, BatchFillsAtMostHalfOfTheWaitingPlaces) {
  Admission admission(4);
  TestPlace running, batch[3], chat[2];
  ASSERT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, running));
  EXPECT_TRUE(admission.enter("e", {Priority::kBatch, {}, false}, batch[0]));
  EXPECT_TRUE(admission.enter("e", {Priority::kBatch, {}, false}, batch[1]));
  EXPECT_FALSE(admission.enter("e", {Priority::kBatch, {}, false}, batch[2]));
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, chat[0]));
  EXPECT_TRUE(admission.enter("e", {Priority::kInteractive, {}, false}, chat[1]));
}

// A clock that stands still until it is moved.
struct Clock {
  Admission::Time now{};
  std::function<Admission::Time()> get() {
    return [this] { return now; };
  }
};
Admission::Asked chat(Flow flow = {}) { return {Priority::kInteractive, flow, false}; }
Admission::Asked batch(Flow flow = {}) { return {Priority::kBatch, flow, false}; }

TEST(Admission, TheCallerThatWasServedLeastIsNext) {
  Admission admission(10);
  TestPlace running, a[2], b;
  ASSERT_TRUE(admission.enter("e", chat({1, 1, 1}), running));
  ASSERT_TRUE(admission.enter("e", chat({1, 1, 2}), a[0]));
  ASSERT_TRUE(admission.enter("e", chat({1, 1, 3}), a[1]));
  ASSERT_TRUE(admission.enter("e", chat({2, 2, 4}), b));
  admission.charge(running, 100);
  admission.leave(running);
  EXPECT_TRUE(b.running()) << "its user got nothing yet";
}

TEST(Admission, InteractiveGoesBeforeBatch) {
  Admission admission(10);
  TestPlace running, b, c;
  ASSERT_TRUE(admission.enter("e", chat(), running));
  ASSERT_TRUE(admission.enter("e", batch(), b));
  ASSERT_TRUE(admission.enter("e", chat(), c));
  admission.leave(running);
  EXPECT_TRUE(c.running());
  EXPECT_FALSE(b.running());
}

TEST(Admission, ABatchRequestIsPausedForAnInteractiveOneAndGoesOnAfterIt) {
  Admission admission(10);
  admission.set_limit("e", 2, true);
  TestPlace b[2], c;
  ASSERT_TRUE(admission.enter("e", batch({1, 1, 1}), b[0]));
  ASSERT_TRUE(admission.enter("e", batch({1, 1, 2}), b[1]));
  ASSERT_TRUE(admission.enter("e", chat({1, 1, 3}), c));
  EXPECT_TRUE(c.running());
  EXPECT_EQ(c.grants, 0) << "never from inside its own enter()";
  EXPECT_EQ(b[1].pauses, 1) << "the latest loses least";
  EXPECT_FALSE(b[1].running());
  admission.leave(c);
  EXPECT_TRUE(b[1].running());
  EXPECT_EQ(b[1].grants, 1);
}

TEST(Admission, WhereNothingCanBePausedABatchRequestKeepsItsPlace) {
  Admission admission(10);
  TestPlace b, c;
  ASSERT_TRUE(admission.enter("e", batch(), b));
  ASSERT_TRUE(admission.enter("e", chat(), c));
  EXPECT_TRUE(b.running());
  EXPECT_FALSE(c.running());
}

TEST(Admission, APlaceMovesToACallerWithTwoLessAndNotBack) {
  Admission admission(10);
  admission.set_limit("e", 4, true);
  TestPlace hog[6], other[3];
  for (uint64_t i = 0; i < 6; ++i) ASSERT_TRUE(admission.enter("e", chat({1, 1, i}), hog[i]));
  for (uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(admission.enter("e", chat({1, 2, 10 + i}), other[i]));
  const auto running = [](auto& places) { return std::ranges::count_if(places, [](auto& place) { return place.running(); }); };
  EXPECT_EQ(running(hog), 2);
  EXPECT_EQ(running(other), 2);
  EXPECT_EQ(hog[3].pauses + hog[2].pauses, 2);
  admission.tick();
  EXPECT_EQ(running(hog), 2) << "an even split stays";
}

TEST(Admission, WhoGetsAPlaceAtOnceNeedsNoWaitingPlace) {
  Admission admission(0);
  admission.set_limit("e", 1, true);
  TestPlace b, c, d;
  ASSERT_TRUE(admission.enter("e", batch(), b));
  EXPECT_TRUE(admission.enter("e", chat(), c));
  EXPECT_TRUE(c.running());
  EXPECT_FALSE(admission.enter("e", chat(), d));
}

TEST(Admission, BatchThatGotNothingForALongTimeBecomesInteractive) {
  Clock clock;
  Admission admission(10, clock.get());
  TestPlace running, b, c;
  ASSERT_TRUE(admission.enter("e", chat({1, 1, 1}), running));
  ASSERT_TRUE(admission.enter("e", batch({1, 1, 2}), b));
  clock.now += std::chrono::seconds(9);
  admission.tick();
  EXPECT_FALSE(b.promoted());
  clock.now += std::chrono::seconds(2);
  admission.tick();
  EXPECT_TRUE(b.promoted());
  ASSERT_TRUE(admission.enter("e", chat({1, 1, 3}), c));
  admission.leave(running);
  EXPECT_TRUE(b.running()) << "it came first";
}

TEST(Admission, BatchThatIsServedDoesNotAge) {
  Clock clock;
  Admission admission(10, clock.get());
  TestPlace running, b;
  ASSERT_TRUE(admission.enter("e", batch({1, 1, 1}), running));
  ASSERT_TRUE(admission.enter("e", batch({1, 1, 2}), b));
  for (int i = 0; i < 30; ++i) {
    clock.now += std::chrono::seconds(1);
    admission.charge(running, 1);
    admission.tick();
  }
  EXPECT_FALSE(b.promoted());
}

TEST(Admission, PositionsAreToldWhenTheyChangeToThoseWhoAsk) {
  Admission admission(10);
  TestPlace running, a, b, c;
  ASSERT_TRUE(admission.enter("e", chat(), running));
  ASSERT_TRUE(admission.enter("e", {Priority::kInteractive, {}, true}, a));
  ASSERT_TRUE(admission.enter("e", chat(), b));
  ASSERT_TRUE(admission.enter("e", {Priority::kInteractive, {}, true}, c));
  EXPECT_EQ(a.positions, std::vector<size_t>{1});
  EXPECT_EQ(c.positions, std::vector<size_t>{3});
  admission.leave(b);
  EXPECT_EQ(c.positions, (std::vector<size_t>{3, 2}));
  admission.leave(running);
  EXPECT_EQ(c.positions, (std::vector<size_t>{3, 2, 1}));
  EXPECT_EQ(a.positions, std::vector<size_t>{1});
}

}  // namespace
}  // namespace inferd
