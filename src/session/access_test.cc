#include "session/access.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "os/blocking_io.h"
#include "os/listener.h"
#include "os/unix_socket.h"
#include "session/connection.h"
#include "session/v1_session.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kOwner = 990;

AccessList list_of(std::vector<int64_t> users, std::vector<int64_t> groups) {
  return AccessList(std::move(users), std::move(groups), kOwner, "access.v1 of /etc/inferd.json");
}

TEST(AccessList, ListedUsersRootAndTheDaemonsOwn) {
  const AccessList list = list_of({1001, 1002}, {});
  for (const int64_t uid : {int64_t{1001}, int64_t{1002}, int64_t{0}, kOwner}) EXPECT_TRUE(list.allows(uid, 100, {})) << uid;
  for (const int64_t uid : {int64_t{1003}, int64_t{100}, int64_t{-1}}) EXPECT_FALSE(list.allows(uid, 100, {})) << uid;
}

TEST(AccessList, MembersOfListedGroups) {
  const AccessList list = list_of({}, {50, 60});
  const std::vector<gid_t> some = {7, 60}, others = {7, 8};
  EXPECT_TRUE(list.allows(1001, 50, {}));
  EXPECT_TRUE(list.allows(1001, 100, some));
  EXPECT_FALSE(list.allows(1001, 100, others));
  EXPECT_FALSE(list.allows(50, 100, {})) << "a uid is no gid";
}

TEST(AccessList, AnEmptyListIsForRootAndTheDaemonsOwnOnly) {
  const AccessList list = list_of({}, {});
  EXPECT_TRUE(list.allows(kOwner, 100, {}));
  EXPECT_TRUE(list.allows(0, 0, {}));
  EXPECT_FALSE(list.allows(1001, 0, {})) << "root's group is not root";
}

TEST(AccessList, WhoIsNotKnownIsNotAllowed) {
  const std::vector<gid_t> groups = {50};
  EXPECT_FALSE(list_of({-1}, {50, -1}).allows(-1, -1, groups));
  EXPECT_FALSE(may_use(list_of({}, {50}), Caller(), -1));
}

// A real client on a real socket; who it is comes from the test.
class Refused : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/access_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    auto opened = ActivityLog::open({.directory = folder_, .to_stderr = false});
    ASSERT_TRUE(opened) << opened.error().message;
    log_ = std::move(*opened);
    context_ = std::make_unique<SessionContext>(io_, poller_, scheduler_, *log_, pool_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // The client, whose connection is made and refused.
  os::UniqueFd refused_client(const Caller& caller) {
    const fs::path path = folder_ / "v1.sock";
    auto listening = os::listen_unix(path, {.mode = 0600, .group = std::nullopt});
    auto client = os::connect_unix(path);
    EXPECT_TRUE(listening && client);
    if (!listening || !client) return {};
    EXPECT_TRUE(os::write_all(client->get(), "{\"id\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n"));
    os::Listener listener(io_, std::move(*listening), "test", path);
    listener.start([&](os::UniqueFd fd) { refuse_connection(*context_, V1Session::kKind, std::move(fd), caller, list_of({}, {})); });
    while (context_->connections.empty()) io_.run_one();
    return std::move(*client);
  }

  os::asio::io_context io_{1};
  os::Poller poller_{io_};
  Scheduler scheduler_{io_, 1};
  os::WorkerPool pool_{1, 1};
  fs::path folder_;
  std::unique_ptr<ActivityLog> log_;
  std::unique_ptr<SessionContext> context_;
};

TEST_F(Refused, GetsOneFrameThatSaysWhyAndThenTheEnd) {
  os::UniqueFd client = refused_client(Caller::unix_peer(1001, 1001, 42));
  std::string answer;
  for (;;) {
    const auto got = os::read_some(client.get(), answer, std::nullopt);
    ASSERT_TRUE(got) << got.error().message;
    if (*got == 0) break;
  }
  EXPECT_EQ(answer,
            "{\"type\":\"error\",\"id\":\"\",\"code\":\"invalid_request\",\"message\":\"uid 1001 may not use this socket: it is not on the "
            "list access.v1 of /etc/inferd.json\"}\n");
  client.reset();
  while (!context_->connections.empty()) io_.run_one();
  io_.poll();  // lets the timer of the connection go, and with it the connection
  log_.reset();
  std::ifstream file(folder_ / "inferd.ndjson");
  const std::string lines{std::istreambuf_iterator<char>(file), {}};
  const std::string event = R"("level":"warn","msg":"connection_refused","peer":"unix:1001:42","peer_gid":1001,"peer_pid":42,"peer_uid":1001,"t":")";
  EXPECT_NE(lines.find(event), std::string::npos) << lines;
  EXPECT_NE(lines.find("\"transport\":\"unix\"}\n"), std::string::npos) << lines;
}

}  // namespace
}  // namespace inferd
