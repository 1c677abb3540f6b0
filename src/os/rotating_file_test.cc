#include "os/rotating_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace inferd::os {
namespace {

namespace fs = std::filesystem;

// A limit of this process, for a while.
class Limited {
 public:
  Limited(int what, rlim_t most) : what_(what) {
    ::getrlimit(what_, &before_);
    const rlimit now{.rlim_cur = most, .rlim_max = before_.rlim_max};
    EXPECT_EQ(::setrlimit(what_, &now), 0);
  }
  ~Limited() { ::setrlimit(what_, &before_); }
  Limited(const Limited&) = delete;
  Limited& operator=(const Limited&) = delete;

 private:
  const int what_;
  rlimit before_{};
};

class RotatingFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGXFSZ, SIG_IGN);
    char name[] = "/tmp/rotating_file_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  RotatingFile file(uint64_t rotate_at = 1000) const {
    return RotatingFile(RotatingFile::Options{
        .path = live(), .rotate_at_bytes = rotate_at, .generations = 3, .look_interval = std::chrono::milliseconds(0)});
  }
  fs::path live(const std::string& suffix = "") const { return folder_ / ("logs/lines" + suffix); }
  void write(const std::string& suffix, const std::string& text) const {
    fs::create_directories(folder_ / "logs");
    std::ofstream(live(suffix), std::ios::binary) << text;
  }
  std::string read(const std::string& suffix = "") const {
    std::ifstream stream(live(suffix), std::ios::binary);
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  }

  fs::path folder_;
};

// A file system that is full takes a part of what is written and then nothing, as a limit on the size of a file does.
TEST_F(RotatingFileTest, OfALineThatDoesNotFitNothingStays) {
  auto lines = file();
  ASSERT_TRUE(lines.open());
  const std::string all = "first\nsecond\nthird\n";
  {
    const Limited full(RLIMIT_FSIZE, 9);
    EXPECT_EQ(lines.append(all), 6u);
    EXPECT_EQ(read(), "first\n");
    EXPECT_TRUE(lines.trouble().starts_with(live().string())) << lines.trouble();
    EXPECT_EQ(lines.append(all.substr(6)), 0u);
    EXPECT_EQ(read(), "first\n");
    EXPECT_NE(lines.trouble(), "");
  }
  EXPECT_EQ(lines.append(all.substr(6)), 13u);
  EXPECT_EQ(read(), all);
  EXPECT_EQ(lines.trouble(), "");
}

TEST_F(RotatingFileTest, AFileThatIsFullFromTheStartTakesNothing) {
  auto lines = file();
  ASSERT_TRUE(lines.open());
  const Limited full(RLIMIT_FSIZE, 0);
  EXPECT_EQ(lines.append("a\n"), 0u);
  EXPECT_NE(lines.trouble(), "");
}

TEST_F(RotatingFileTest, PartOfALineThatAKilledProcessLeftIsCutOff) {
  write("", "{\"a\":1}\n{\"b\":");
  auto lines = file();
  ASSERT_TRUE(lines.open());
  EXPECT_EQ(lines.append("{\"c\":3}\n"), 8u);
  EXPECT_EQ(read(), "{\"a\":1}\n{\"c\":3}\n");
}

TEST_F(RotatingFileTest, WhatMayBeNoneOfOursStaysAndGetsItsEndOfLine) {
  write("", "who wrote this");
  auto lines = file();
  ASSERT_TRUE(lines.open());
  EXPECT_EQ(lines.append("a\n"), 2u);
  EXPECT_EQ(read(), "who wrote this\na\n");
}

TEST_F(RotatingFileTest, GenerationsMoveUpAndTheOldestGoes) {
  auto lines = file(10);
  ASSERT_TRUE(lines.open());
  EXPECT_EQ(lines.append("line one\nline two\nline 3..\nline 4..\nline 5..\n"), 45u);
  EXPECT_EQ(read() + read(".1") + read(".2") + read(".3"), "line 5..\nline 4..\nline 3..\nline two\n");
  EXPECT_FALSE(fs::exists(live(".4")));
  EXPECT_EQ(lines.trouble(), "");
}

TEST_F(RotatingFileTest, ALineLongerThanTheLimitHasAFileOfItsOwn) {
  auto lines = file(10);
  ASSERT_TRUE(lines.open());
  EXPECT_EQ(lines.append("a\nthis line is longer than ten bytes\nb\n"), 39u);
  EXPECT_EQ(read() + read(".1") + read(".2"), "b\nthis line is longer than ten bytes\na\n");
}

TEST_F(RotatingFileTest, WhenARenameFailsAllStaysAndTheFileGoesOnUntilItCanBeRotated) {
  write("", std::string(95, 'x') + "\n");
  write(".1", "one");
  write(".3", "three");
  fs::create_directories(live(".4") / "in the way");
  auto lines = file(96);
  ASSERT_TRUE(lines.open());
  EXPECT_EQ(lines.append("ab\n"), 3u);
  EXPECT_NE(lines.trouble().find("is not rotated"), std::string::npos) << lines.trouble();
  EXPECT_EQ(read(), std::string(95, 'x') + "\nab\n");
  EXPECT_EQ(read(".1"), "one");
  EXPECT_FALSE(fs::exists(live(".2")));
  EXPECT_EQ(read(".3"), "three");
  fs::remove_all(live(".4"));
  EXPECT_EQ(lines.append("ef\n"), 3u);  // there is room until a sixteenth of the limit has been written since
  EXPECT_NE(lines.trouble(), "");
  EXPECT_EQ(lines.append("ghi\n"), 4u);
  EXPECT_EQ(lines.trouble(), "");
  EXPECT_EQ(read() + read(".2") + read(".3"), "ghi\none");
  EXPECT_EQ(read(".1"), std::string(95, 'x') + "\nab\nef\n");
}

TEST_F(RotatingFileTest, WhenNoNewFileCanBeMadeTheGenerationsAreAsTheyWere) {
  write("", std::string(95, 'x') + "\n");
  for (const char* number : {"1", "2", "3"}) write(std::string(".") + number, number);
  auto lines = file(96);
  ASSERT_TRUE(lines.open());
  const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // all below are taken
  ::close(next);
  {
    const Limited descriptors(RLIMIT_NOFILE, static_cast<rlim_t>(next));
    EXPECT_EQ(lines.append("ab\n"), 3u);
  }
  EXPECT_NE(lines.trouble(), "");
  EXPECT_EQ(read(), std::string(95, 'x') + "\nab\n");
  EXPECT_EQ(read(".1") + read(".2") + read(".3"), "123");
  EXPECT_FALSE(fs::exists(live(".4")));
}

TEST_F(RotatingFileTest, AFileOrFolderThatSomebodyTookAwayIsMadeAgain) {
  auto lines = file();
  ASSERT_TRUE(lines.open());
  EXPECT_EQ(lines.append("a\n"), 2u);
  fs::rename(live(), live(".saved"));
  EXPECT_EQ(lines.append("b\n"), 2u);
  EXPECT_EQ(read(".saved"), "a\n");
  EXPECT_EQ(read(), "b\n");
  fs::remove_all(folder_ / "logs");
  EXPECT_EQ(lines.append("c\n"), 2u);
  EXPECT_EQ(read(), "c\n");
  struct stat info{};
  ASSERT_EQ(::stat((folder_ / "logs").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(RotatingFileTest, WhatIsNoFolderOrNoFileIsNamed) {
  std::ofstream(folder_ / "logs") << "x";
  auto lines = file();
  const auto opened = lines.open();
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find((folder_ / "logs").string()), std::string::npos) << opened.error().message;
  fs::remove(folder_ / "logs");
  ASSERT_TRUE(lines.open());
  fs::remove(live());
  ASSERT_EQ(::mkfifo(live().c_str(), 0600), 0);
  EXPECT_EQ(lines.append("a\n"), 0u);  // and does not wait for a reader
  EXPECT_NE(lines.trouble().find("not a regular file"), std::string::npos) << lines.trouble();
}

}  // namespace
}  // namespace inferd::os
