#include "os/paths.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace inferd::os {
namespace {

namespace fs = std::filesystem;

TEST(RuntimeDirectories, TheServicesOwnIsTheLast) {
  const auto list = runtime_directories_to_try();
  ASSERT_GE(list.size(), 2u);
  EXPECT_EQ(list.back(), "/run/inferd");
  EXPECT_NE(runtime_directory(), "/run/inferd");
}

TEST(RuntimeDirectories, XdgRuntimeDirOfTheServiceLeadsThere) {
  ::setenv("XDG_RUNTIME_DIR", "/run", 1);
  EXPECT_EQ(runtime_directory(), "/run/inferd");
  ::unsetenv("XDG_RUNTIME_DIR");
}

class Folder : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/paths_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST_F(Folder, OfOursIsTrustedAndALinkOrAFileIsNot) {
  EXPECT_TRUE(is_trusted_directory(folder_));
  EXPECT_TRUE(is_trusted_directory("/"));
  fs::create_directory_symlink(folder_, folder_ / "link");
  std::ofstream(folder_ / "file") << "";
  for (const char* name : {"link", "file", "nothing"}) EXPECT_FALSE(is_trusted_directory(folder_ / name)) << name;
}

TEST_F(Folder, OfAnotherUserIsNotTrusted) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give a folder to another user";
  constexpr uid_t kNobody = 65534;
  ASSERT_EQ(::chown(folder_.c_str(), kNobody, kNobody), 0);
  EXPECT_FALSE(is_trusted_directory(folder_));
}

TEST(BesideOrLib, AProgramThatIsNowhereIsExpectedBesideThisOne) {
  const fs::path here = fs::read_symlink("/proc/self/exe");
  EXPECT_EQ(beside_or_lib("no-such-program"), here.parent_path() / "no-such-program");
  EXPECT_EQ(beside_or_lib(here.filename().string()), here);
}

}  // namespace
}  // namespace inferd::os
