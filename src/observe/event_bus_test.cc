#include "observe/event_bus.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

TEST(EventBus, PublishUpdatesTheSnapshotAndReachesEveryListener) {
  EventBus bus;
  int first = 0, second = 0;
  bus.subscribe({[&](const StatusEvent&) { ++first; }, [](const Capabilities&) {}});
  bus.subscribe({[&](const StatusEvent&) { ++second; }, [](const Capabilities&) {}});
  bus.publish(StatusEvent{.state = StatusEvent::State::kReady, .phase = {}, .reason = {}});
  EXPECT_EQ(bus.status().state, StatusEvent::State::kReady);
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
}

TEST(EventBus, CapabilitiesOfEveryEntryAreKeptAndDoNotReplaceTheStatus) {
  EventBus bus;
  Capabilities a, b;
  a.name = "a";
  b.name = "b";
  bus.publish(a);
  bus.publish(b);
  a.embed = true;
  bus.publish(a);
  ASSERT_EQ(bus.capabilities().size(), 2u);
  EXPECT_TRUE(bus.capabilities()[0].embed);
  EXPECT_EQ(bus.status().state, StatusEvent::State::kStarting);
}

TEST(EventBus, AWarningKeepsTheStatusAndIsCarriedUntilItEnds) {
  EventBus bus;
  std::vector<StatusEvent> told;
  bus.subscribe({[&](const StatusEvent& event) { told.push_back(event); }, [](const Capabilities&) {}});
  bus.publish(StatusEvent{.state = StatusEvent::State::kLoadingModel, .phase = Phase{"mmap", {}}, .reason = {}});
  bus.warn("the disk is full");
  bus.warn("the disk is full");
  bus.publish(StatusEvent{.state = StatusEvent::State::kReady, .phase = {}, .reason = {}});
  bus.warn(std::nullopt);
  bus.warn(std::nullopt);
  ASSERT_EQ(told.size(), 4u);
  EXPECT_EQ(told[0].warning, "");
  EXPECT_EQ(told[1].state, StatusEvent::State::kLoadingModel);
  EXPECT_EQ(told[1].phase->name, "mmap");
  EXPECT_EQ(told[1].warning, "the disk is full");
  EXPECT_EQ(told[2].state, StatusEvent::State::kReady);
  EXPECT_EQ(told[2].warning, "the disk is full");
  EXPECT_EQ(told[3].state, StatusEvent::State::kReady);
  EXPECT_EQ(told[3].warning, "");
  EXPECT_EQ(bus.status().warning, "");
}

TEST(EventBus, AWarningWhileDrainingDoesNotBringReadyBack) {
  EventBus bus;
  std::vector<StatusEvent> told;
  bus.subscribe({[&](const StatusEvent& event) { told.push_back(event); }, [](const Capabilities&) {}});
  bus.publish(StatusEvent{.state = StatusEvent::State::kDraining, .phase = {}, .reason = {}});
  bus.warn("the disk is full");
  bus.publish(StatusEvent{.state = StatusEvent::State::kReady, .phase = {}, .reason = {}});
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[1].state, StatusEvent::State::kDraining);
  EXPECT_EQ(bus.status().warning, "the disk is full");
}

TEST(EventBus, AListenerMayUnsubscribeItselfWhileItIsCalled) {
  EventBus bus;
  EventBus::Subscription subscription;
  int calls = 0;
  subscription = bus.subscribe({[&](const StatusEvent&) {
                                  ++calls;
                                  bus.unsubscribe(subscription);
                                },
                                [](const Capabilities&) {}});
  bus.publish(StatusEvent{});
  bus.publish(StatusEvent{});
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace inferd
