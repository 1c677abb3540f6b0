#include "base/utf8.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

TEST(Utf8, FindsTheUnfinishedCharacterAtTheEnd) {
  EXPECT_EQ(incomplete_utf8_suffix(""), 0u);
  EXPECT_EQ(incomplete_utf8_suffix("abc"), 0u);
  EXPECT_EQ(incomplete_utf8_suffix("\xC3"), 1u);
  EXPECT_EQ(incomplete_utf8_suffix("a\xE2\x82"), 2u);
  EXPECT_EQ(incomplete_utf8_suffix("\xF0\x9F\x98"), 3u);
  EXPECT_EQ(incomplete_utf8_suffix("\xF0\x9F\x98\x80"), 0u);
  EXPECT_EQ(incomplete_utf8_suffix("\xE0\x80"), 0u) << "can never become a character";
}

TEST(Utf8, SplitAtEveryByteGivesTheSameText) {
  const std::string text = "aä€😀z";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    std::string first = text.substr(0, cut), held = first.substr(first.size() - incomplete_utf8_suffix(first));
    first.resize(first.size() - held.size());
    EXPECT_TRUE(is_valid_utf8(first));
    EXPECT_TRUE(is_valid_utf8(held + text.substr(cut)));
  }
}

TEST(Utf8, RefusesOverlongSurrogatesAndBeyondUnicode) {
  EXPECT_FALSE(is_valid_utf8("\xC0\x80"));
  EXPECT_FALSE(is_valid_utf8("\xED\xA0\x80"));
  EXPECT_FALSE(is_valid_utf8("\xF4\x90\x80\x80"));
  EXPECT_TRUE(is_valid_utf8("\xF4\x8F\xBF\xBF"));
}

TEST(Utf8, ReplacesEachIllFormedSubpartOnce) {
  EXPECT_EQ(to_valid_utf8("a\xF0\x9F\x98z"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(to_valid_utf8("\xFF\xFF"), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(Utf8, CutsAtACharacter) {
  EXPECT_EQ(cut_utf8("aä", 2), "a");
  EXPECT_EQ(cut_utf8("aä", 3), "aä");
}

TEST(Utf8, PrintableKeepsTextAndLeavesNoControlCharacter) {
  EXPECT_EQ(printable("größe 7"), "größe 7");
  EXPECT_EQ(printable("a\nb\x1b[2J\x7f\xc2\x9b"), "a?b?[2J??");
  EXPECT_EQ(printable("\xff"), "\xef\xbf\xbd");
}

}  // namespace
}  // namespace inferd
