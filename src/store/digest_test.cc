#include "store/digest.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace inferd {
namespace {

int file_with(const std::string& bytes) {
  const int fd = ::memfd_create("digest_test", 0);
  EXPECT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  return fd;
}

TEST(Digest, OfKnownTexts) {
  const std::atomic<bool> cancelled = false;
  const int hello = file_with("hello world"), empty = file_with("");
  EXPECT_EQ(sha256_of(hello, cancelled, [](uint64_t) {}).value(), "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
  EXPECT_EQ(sha256_of(empty, cancelled, [](uint64_t) {}).value(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  ::close(hello);
  ::close(empty);
}

TEST(Digest, StopsWhenCancelled) {
  const std::atomic<bool> cancelled = true;
  const int fd = file_with("hello world");
  EXPECT_FALSE(sha256_of(fd, cancelled, [](uint64_t) {}));
  ::close(fd);
}

}  // namespace
}  // namespace inferd
