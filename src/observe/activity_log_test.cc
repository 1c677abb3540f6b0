#include "observe/activity_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

namespace inferd {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class ActivityLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/inferd-log-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::unique_ptr<ActivityLog> open(uint64_t rotate_at = 16u << 20) {
    auto log = ActivityLog::open({.directory = folder_ / "logs", .rotate_at_bytes = rotate_at, .generations = 3, .to_stderr = false});
    EXPECT_TRUE(log.has_value());
    return std::move(*log);
  }
  std::string read(const std::string& suffix = "") const {
    std::ifstream file(folder_ / "logs" / ("inferd.ndjson" + suffix));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  fs::path folder_;
};

TEST_F(ActivityLogTest, ARecordIsOneObjectWithSortedKeysAndATime) {
  open()->event(log::Level::kInfo, "request_done", {{"backend", "mock"}, {"completion_tokens", 2}, {"req_id", ActivityLog::Foreign{"a\"\n"}}, {"z", 1}});
  EXPECT_THAT(read(), MatchesRegex("\\{\"backend\":\"mock\",\"completion_tokens\":2,\"component\":\"activity\",\"level\":\"info\","
                                   "\"msg\":\"request_done\",\"req_id\":\"a\\\\\"\\\\n\",\"t\":\"[0-9T:.-]+\\+00:00\",\"z\":1\\}\n"));
}

TEST_F(ActivityLogTest, FilesAreForTheirOwnerOnly) {
  open()->record(log::Level::kInfo, "daemon", "hello");
  struct stat info{};
  ASSERT_EQ(::stat((folder_ / "logs/inferd.ndjson").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat((folder_ / "logs").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(ActivityLogTest, RotatesBeforeTheLimitAndKeepsThreeGenerations) {
  auto log = open(120);  // one line each
  for (int i = 0; i < 6; ++i) log->record(log::Level::kInfo, "daemon", "record number " + std::to_string(i));
  log.reset();
  EXPECT_THAT(read(), HasSubstr("number 5"));
  EXPECT_THAT(read(".1"), HasSubstr("number 4"));
  EXPECT_THAT(read(".2"), HasSubstr("number 3"));
  EXPECT_THAT(read(".3"), HasSubstr("number 2"));
  EXPECT_FALSE(fs::exists(folder_ / "logs/inferd.ndjson.4"));
}

TEST_F(ActivityLogTest, SecretsAreRedactedOnTheirWayToTheFile) {
  open()->event(log::Level::kInfo, "request_done", {{"req_id", ActivityLog::Foreign{"sk-abcdefghij0123456789"}}});
  EXPECT_THAT(read(), HasSubstr("[REDACTED:api-key]"));
  EXPECT_THAT(read(), Not(HasSubstr("abcdefghij")));
}

TEST_F(ActivityLogTest, ARestartAppends) {
  open()->record(log::Level::kInfo, "daemon", "first");
  open()->record(log::Level::kInfo, "daemon", "second");
  EXPECT_THAT(read(), HasSubstr("first"));
  EXPECT_THAT(read(), HasSubstr("second"));
}

}  // namespace
}  // namespace inferd
