#include "os/peer.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "os/unique_fd.h"

namespace inferd::os {
namespace {

class SocketPair : public ::testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    here_ = UniqueFd(fds[0]);
    there_ = UniqueFd(fds[1]);
  }
  UniqueFd here_, there_;
};

TEST_F(SocketPair, ThePeerIsThisProcess) {
  const auto peer = peer_of(here_.get());
  ASSERT_TRUE(peer) << peer.error().message;
  EXPECT_FALSE(peer->tcp);
  EXPECT_EQ(peer->uid, int64_t{::geteuid()});
  EXPECT_EQ(peer->gid, int64_t{::getegid()});
  EXPECT_EQ(peer->pid, int64_t{::getpid()});
}

TEST_F(SocketPair, TheGroupsAreThoseOfThisProcess) {
  auto groups = peer_groups(here_.get());
  ASSERT_TRUE(groups) << groups.error().message;
  std::vector<gid_t> own(static_cast<size_t>(::getgroups(0, nullptr)));
  ASSERT_GE(::getgroups(static_cast<int>(own.size()), own.data()), 0);
  std::ranges::sort(*groups);
  std::ranges::sort(own);
  EXPECT_EQ(*groups, own);
}

// More than fit into the first call. Only root may take groups on.
TEST(PeerGroups, ManyGroupsAreAllSeen) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  std::vector<gid_t> own(static_cast<size_t>(::getgroups(0, nullptr)));
  ASSERT_GE(::getgroups(static_cast<int>(own.size()), own.data()), 0);
  std::vector<gid_t> many;
  for (gid_t group = 50'000; group < 50'300; ++group) many.push_back(group);
  if (::setgroups(many.size(), many.data()) != 0) GTEST_SKIP() << "setgroups is not permitted here";
  int fds[2];
  const int made = ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
  EXPECT_EQ(::setgroups(own.size(), own.data()), 0);
  ASSERT_EQ(made, 0);
  const UniqueFd here(fds[0]), there(fds[1]);
  const auto groups = peer_groups(here.get());
  ASSERT_TRUE(groups) << groups.error().message;
  EXPECT_EQ(*groups, many);
}

TEST(PeerGroups, NoSocketIsAnErrorThatSaysSo) {
  const auto groups = peer_groups(-1);
  ASSERT_FALSE(groups);
  EXPECT_NE(groups.error().message.find("SO_PEERGROUPS"), std::string::npos);
}

TEST(UserId, ByNameOrAnErrorThatNamesIt) {
  EXPECT_EQ(user_id("root").value(), 0u);
  const auto unknown = user_id("no-such-user");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kUsage);
  EXPECT_NE(unknown.error().message.find("no-such-user"), std::string::npos);
}

}  // namespace
}  // namespace inferd::os
