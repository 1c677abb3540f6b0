#include "observe/activity_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>

#include "base/bounded_queue.h"

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
  // A log that cannot be written until let_in(): a file is where its folder was.
  std::unique_ptr<ActivityLog> shut_out(size_t max_held = 1u << 20) {
    auto log = ActivityLog::open({.directory = folder_ / "logs",
                                  .max_held_bytes = max_held,
                                  .to_stderr = false,
                                  .on_trouble = [this](std::optional<std::string> trouble) { told_.try_push(trouble.value_or("over")); }});
    EXPECT_TRUE(log.has_value());
    fs::remove_all(folder_ / "logs");
    std::ofstream(folder_ / "logs") << "in the way";
    return std::move(*log);
  }
  void let_in() const { fs::remove(folder_ / "logs"); }
  std::string read(const std::string& suffix = "") const {
    std::ifstream file(folder_ / "logs" / ("inferd.ndjson" + suffix));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  fs::path folder_;
  BoundedQueue<std::string> told_{16};  // by on_trouble
};

std::string numbered(int number) { return "record number " + std::to_string(number) + "."; }

TEST_F(ActivityLogTest, ARecordIsOneObjectWithSortedKeysAndATime) {
  open()->event(log::Level::kInfo, "request_done",
                {{"backend", "mock"},
                 {"completion_tokens", 2},
                 {"left_out", ActivityLog::Value()},
                 {"req_id", ActivityLog::Foreign{"a\"\n"}},
                 {"z", 1}});
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

TEST_F(ActivityLogTest, SecretsAreRedactedOnTheirWayToStandardError) {
  auto log = ActivityLog::open({.directory = folder_ / "logs"});
  ASSERT_TRUE(log);
  ::testing::internal::CaptureStderr();
  (*log)->record(log::Level::kWarn, "daemon", R"(refused {"password":"hunter22"} and sk-proj-abc-0123456789abcdef)");
  log->reset();
  const std::string told = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(told, HasSubstr(R"(daemon: refused {"[REDACTED:secret-kv]"} and [REDACTED:api-key])"));
  EXPECT_THAT(read(), HasSubstr(R"(refused {\"[REDACTED:secret-kv]\"} and [REDACTED:api-key])"));
}

TEST_F(ActivityLogTest, LinesWaitForTheDiskAndNoneIsLost) {
  auto log = shut_out();
  for (int i = 0; i < 50; ++i) log->record(log::Level::kInfo, "daemon", numbered(i));
  EXPECT_THAT(*told_.pop(), HasSubstr("is not a folder"));
  log->record(log::Level::kInfo, "daemon", numbered(50));
  let_in();
  EXPECT_EQ(*told_.pop(), "over");
  log.reset();
  const std::string text = read();
  size_t at = 0;
  for (int i = 0; i <= 50; ++i) {
    at = text.find(numbered(i), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_THAT(text, Not(HasSubstr("lines_lost")));
}

TEST_F(ActivityLogTest, WhatIsTooMuchToKeepIsCountedAndAnnounced) {
  auto log = shut_out(2000);
  for (int i = 0; i < 200; ++i) log->event(log::Level::kInfo, "request_done", {{"req_id", ActivityLog::Foreign{numbered(i)}}});
  EXPECT_THAT(*told_.pop(), HasSubstr("is not a folder"));
  let_in();
  EXPECT_EQ(*told_.pop(), "over");
  log.reset();
  const std::string text = read();
  const std::regex gap(R"(\{"component":"log","count":(\d+),"first_lost":"[0-9T:.-]+\+00:00","last_lost":"[0-9T:.-]+\+00:00",)"
                       R"("level":"warn","msg":"lines_lost","t":"[0-9T:.-]+\+00:00"\}\n)");
  long lines = std::ranges::count(text, '\n'), lost = 0;
  for (std::sregex_iterator at(text.begin(), text.end(), gap), end; at != end; ++at, --lines) lost += std::stol((*at)[1]);
  EXPECT_GT(lost, 0) << text;
  EXPECT_EQ(lines + lost, 200) << text;
  EXPECT_LT(text.find(numbered(0)), text.find("lines_lost"));
}

TEST_F(ActivityLogTest, ALogThatCannotBeWrittenEnds) {
  auto log = shut_out();
  log->record(log::Level::kInfo, "daemon", "never written");
  told_.pop();
  log->record(log::Level::kInfo, "daemon", "never written either");
  log.reset();
  EXPECT_FALSE(fs::is_directory(folder_ / "logs"));
}

TEST_F(ActivityLogTest, ARestartAppends) {
  open()->record(log::Level::kInfo, "daemon", "first");
  open()->record(log::Level::kInfo, "daemon", "second");
  EXPECT_THAT(read(), HasSubstr("first"));
  EXPECT_THAT(read(), HasSubstr("second"));
}

}  // namespace
}  // namespace inferd
