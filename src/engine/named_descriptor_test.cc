#include "engine/named_descriptor.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "os/input_file.h"
#include "os/sandbox.h"

namespace inferd::engine {
namespace {

// A sandbox is for good, so it is entered in a child. Its exit code is 0 or the line of the first thing that was wrong.
#define REQUIRE(what) \
  if (!(what)) return __LINE__

template <class Body>
void in_child(Body body) {
  EXPECT_EXIT(std::_Exit(body()), testing::ExitedWithCode(0), "");
}

struct Files {
  std::string path = testing::TempDir() + "inferd-named-descriptor-test";
  Files() { std::ofstream(path) << "a projector, of which the end is read by seeking"; }
  ~Files() { std::remove(path.c_str()); }
};

std::string read_stream(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool is_refused(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  const int error = errno;
  if (file != nullptr) std::fclose(file);
  return file == nullptr && (error == EPERM || error == EACCES) && !std::ifstream(path).is_open();
}

TEST(NamedDescriptor, InTheSandboxItsNameIsReadAgainAndAgainAndNothingElse) {
  const Files files;
  const auto file = os::open_regular_file(files.path), other = os::open_regular_file(files.path);
  ASSERT_TRUE(file && other);
  const std::string text = read_stream(files.path.c_str());
  in_child([&] {
    REQUIRE(os::enter_sandbox(os::SandboxMode::kAuto));
    const NamedDescriptor name(file->get());
    for (int times = 0; times < 2; ++times) {
      std::FILE* c_file = std::fopen(name.path(), "rb");
      REQUIRE(c_file != nullptr);
      char beginning[11];
      REQUIRE(std::fread(beginning, 1, sizeof beginning, c_file) == sizeof beginning && std::string(beginning, 11) == "a projector");
      std::fclose(c_file);
      REQUIRE(read_stream(name.path()) == text);
      std::ifstream stream(name.path(), std::ios::binary);
      std::string end(7, ' ');
      REQUIRE(stream.seekg(static_cast<std::streamoff>(text.size() - end.size())) && stream.read(end.data(), 7) && end == "seeking");
    }
    for (const std::string& path : {std::string("/etc/passwd"), files.path, std::string("/proc/self/maps"),
                                    "/proc/self/fd/" + std::to_string(other->get()), std::string("/proc/self/fd/0")}) {
      REQUIRE(is_refused(path));
    }
    return 0;
  });
}

TEST(NamedDescriptor, ANameEndsWithItsObject) {
  const Files files;
  const auto file = os::open_regular_file(files.path);
  ASSERT_TRUE(file);
  in_child([&] {
    REQUIRE(os::enter_sandbox(os::SandboxMode::kAuto));
    std::string path;
    {
      const NamedDescriptor name(file->get());
      path = name.path();
    }
    REQUIRE(is_refused(path));
    return 0;
  });
}

TEST(NamedDescriptor, OtherFilesAreOpenedAsEver) {
  const Files files;
  const auto file = os::open_regular_file(files.path);
  ASSERT_TRUE(file);
  const NamedDescriptor name(file->get());
  EXPECT_FALSE(read_stream("/proc/self/status").empty());
  const std::string path = files.path + "-written";
  std::FILE* written = std::fopen(path.c_str(), "wb");
  ASSERT_NE(written, nullptr);
  EXPECT_GE(std::fputs("text", written), 0);
  std::fclose(written);
  EXPECT_EQ(read_stream(path.c_str()), "text");
  std::remove(path.c_str());
  EXPECT_EQ(std::fopen("/inferd-no-such-path", "rb"), nullptr);
  EXPECT_EQ(errno, ENOENT);
}

}  // namespace
}  // namespace inferd::engine
