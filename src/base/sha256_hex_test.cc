#include "base/sha256_hex.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

TEST(Sha256Hex, SixtyFourDigitsOfEitherCase) {
  EXPECT_EQ(sha256_hex(std::string(64, 'A')), std::string(64, 'a'));
  EXPECT_EQ(sha256_hex(std::string(64, '0')), std::string(64, '0'));
  EXPECT_FALSE(sha256_hex(std::string(63, 'a')));
  EXPECT_FALSE(sha256_hex(std::string(64, 'g')));
  EXPECT_FALSE(sha256_hex(""));
}

}  // namespace
}  // namespace inferd
