#include "request/fair_share.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace inferd {
namespace {

// Serves whoever is first for `rounds` tokens; all are always there.
std::vector<uint64_t> serve(FairShare& share, const std::vector<Flow>& flows, int rounds, uint64_t tokens = 1) {
  std::vector<uint64_t> served(flows.size());
  for (int round = 0; round < rounds; ++round) {
    size_t best = 0;
    for (size_t i = 1; i < flows.size(); ++i) {
      if (share.compare(flows[i], flows[best]) < 0) best = i;
    }
    share.charge(flows[best], tokens);
    served[best] += tokens;
  }
  return served;
}

TEST(FairShare, UsersShareEquallyWhateverTheNumberOfTheirConnections) {
  FairShare share;
  const std::vector<Flow> flows = {{1, 10, 100}, {1, 10, 101}, {1, 10, 102}, {2, 20, 200}};
  for (const Flow& flow : flows) share.enter(flow);
  const auto served = serve(share, flows, 1200);
  EXPECT_EQ(share.served({1, 10, 100}), (std::array<uint64_t, 3>{600, 600, 200}));
  EXPECT_EQ(share.served({3, 1, 1}), (std::array<uint64_t, 3>{0, 0, 0}));
  EXPECT_EQ(served[3], 600u);
  EXPECT_EQ(served[0], 200u);
  EXPECT_EQ(served[1], 200u);
  EXPECT_EQ(served[2], 200u);
}

TEST(FairShare, ProcessesOfAUserShareEqually) {
  FairShare share;
  const std::vector<Flow> flows = {{1, 10, 100}, {1, 10, 101}, {1, 11, 102}};
  for (const Flow& flow : flows) share.enter(flow);
  const auto served = serve(share, flows, 1000);
  EXPECT_EQ(served[2], 500u);
  EXPECT_EQ(served[0], 250u);
}

TEST(FairShare, ANewcomerStartsWithThoseWhoAreThere) {
  FairShare share;
  const Flow old = {1, 10, 100}, young = {2, 20, 200};
  share.enter(old);
  share.charge(old, 1'000'000);
  share.enter(young);
  EXPECT_LT(share.compare(young, old), 0) << "of equals, the one that came last goes first";
  const auto served = serve(share, {old, young}, 100);
  EXPECT_EQ(served[0], 50u) << "the million was served when nobody else was there";
  EXPECT_EQ(served[1], 50u);
}

TEST(FairShare, WhoeverLeavesAndComesBackKeepsItsDebt) {
  FairShare share;
  const Flow a = {1, 10, 100}, b = {2, 20, 200};
  share.enter(a);
  share.enter(b);
  share.charge(a, 500);
  share.leave(a);
  share.enter({1, 10, 101});
  EXPECT_GT(share.compare({1, 10, 101}, b), 0);
}

TEST(FairShare, ConnectionsOfOneProcessWithEqualServiceHaveNoClaimBeforeEachOther) {
  FairShare share;
  share.enter({1, 10, 100});
  share.enter({1, 10, 101});
  EXPECT_EQ(share.compare({1, 10, 100}, {1, 10, 101}), 0);
}

TEST(FairShare, NothingIsLeftOfCallersThatAreGone) {
  FairShare share;
  std::mt19937 random(1);
  for (uint64_t i = 0; i < 10'000; ++i) {
    const Flow flow = {i % 3, i % 7, i};
    share.enter(flow);
    share.charge(flow, random() % 100);
    share.leave(flow);
  }
  EXPECT_EQ(share.size(), 0u);
}

TEST(FairShare, ChurnOfConnectionsBesideAStarvedOneIsForgottenWhenThatOneIsServed) {
  FairShare share;
  const Flow starved = {1, 10, 0};
  share.enter(starved);
  for (uint64_t i = 1; i <= 1000; ++i) {
    share.enter({1, 10, i});
    share.charge({1, 10, i}, 10);
    share.leave({1, 10, i});
  }
  share.charge(starved, 100'000);
  share.enter({1, 10, 5000});
  share.leave({1, 10, 5000});
  EXPECT_LE(share.size(), 4u);
}

}  // namespace
}  // namespace inferd
