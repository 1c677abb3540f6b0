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
