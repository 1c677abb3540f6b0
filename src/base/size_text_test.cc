#include "base/size_text.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB, kTiB = 1024 * kGiB;

TEST(SizeText, HasTheUnitThatAPersonWouldTake) {
  EXPECT_EQ(size_text(0), "0 KiB");
  EXPECT_EQ(size_text(1), "1 KiB");
  EXPECT_EQ(size_text(1000 * kKiB), "1000 KiB");
  EXPECT_EQ(size_text(kMiB), "1 MiB");
  EXPECT_EQ(size_text(360 * kMiB), "360 MiB");
  EXPECT_EQ(size_text(kGiB), "1.0 GiB");
  EXPECT_EQ(size_text(kGiB + kGiB / 5), "1.2 GiB");
  EXPECT_EQ(size_text(21 * kTiB), "21.0 TiB");
  EXPECT_EQ(size_text(UINT64_MAX), "16777216.0 TiB");
}

TEST(SizeText, RoundingNeverGives1024OfAUnit) {
  EXPECT_EQ(size_text(kMiB - 1), "1 MiB");
  EXPECT_EQ(size_text(kGiB - 1), "1.0 GiB");
  EXPECT_EQ(size_text(kTiB - 1), "1.0 TiB");
}

}  // namespace
}  // namespace inferd
