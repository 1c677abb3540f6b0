#include "os/secret_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace inferd::os {
namespace {

namespace fs = std::filesystem;

class SecretFile : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/secret_file_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path file(const std::string& content, mode_t mode = 0600) {
    const fs::path path = folder_ / "key";
    fs::remove(path);
    std::ofstream(path, std::ios::binary) << content;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }
  std::string key(const std::string& content) {
    const auto read = read_secret_file(file(content));
    return read ? *read : "error: " + read.error().message;
  }
  void fails(const fs::path& path, const std::string& says) {
    const auto read = read_secret_file(path);
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().message.find(says), std::string::npos) << read.error().message;
    EXPECT_NE(read.error().message.find(path.string()), std::string::npos) << read.error().message;
    EXPECT_EQ(read.error().message.find("SECRET"), std::string::npos) << "an error tells no key";
  }

  fs::path folder_;
};

TEST_F(SecretFile, TheLineEndIsNoPartOfTheKey) {
  EXPECT_EQ(key("abc"), "abc");
  EXPECT_EQ(key("abc\n"), "abc");
  EXPECT_EQ(key("abc\r\n"), "abc");
  EXPECT_EQ(key(" a b "), " a b ");
  EXPECT_EQ(key("schl\xC3\xBCssel\n"), "schl\xC3\xBCssel");
}

TEST_F(SecretFile, NothingAndMoreThanOneLineAreErrors) {
  fails(file(""), "empty");
  fails(file("\n"), "empty");
  fails(file("\r\n"), "empty");
  fails(file("SECRET\nother\n"), "more than one line");
  fails(file("SECRET\n\n"), "more than one line");
  fails(file(std::string("SECRET\0", 7)), "control character");
}

TEST_F(SecretFile, ItsSizeIsBounded) {
  EXPECT_EQ(key(std::string(kMaxSecretBytes, 'k')).size(), kMaxSecretBytes);
  fails(file(std::string(kMaxSecretBytes + 1, 'k')), "larger than 65536 bytes");
}

TEST_F(SecretFile, NobodyElseMayHaveARight) {
  for (const mode_t mode : {0600, 0400, 0700}) EXPECT_TRUE(read_secret_file(file("SECRET", mode))) << mode;
  for (const mode_t mode : {0640, 0604, 0620, 0602, 0610, 0601, 0644, 0440}) fails(file("SECRET", mode), "chmod 600");
}

TEST_F(SecretFile, WhatIsNoRegularFileIsRefusedWithoutWaiting) {
  fails(folder_, "not a regular file");
  fails(folder_ / "nothing", "No such file");
  const fs::path fifo = folder_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  fails(fifo, "not a regular file");
}

TEST_F(SecretFile, TheReadBitOfAGroupIsAccessListsOfSystemdOnly) {
  const fs::path path = file("SECRET", 0440);
  ::setenv("CREDENTIALS_DIRECTORY", folder_.c_str(), 1);
  if (::geteuid() == 0) {
    EXPECT_TRUE(read_secret_file(path));
  } else {
    fails(path, "chmod 600");  // ours, not root's: no credential of systemd
  }
  ::unsetenv("CREDENTIALS_DIRECTORY");
  fails(path, "chmod 600");
}

}  // namespace
}  // namespace inferd::os
