#include "engine/grammar_limits.h"

#include <gtest/gtest.h>

namespace inferd::engine {
namespace {

std::string times(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

// E27
TEST(GrammarLimits, BytesAndBars) {
  EXPECT_TRUE(check_grammar_limits("root ::= \"a\"" + std::string(65'536 - 12, ' ')));
  EXPECT_FALSE(check_grammar_limits("root ::= \"a\"" + std::string(65'537 - 12, ' ')));
  EXPECT_TRUE(check_grammar_limits("root ::= " + times("a|", 4'096)));
  EXPECT_FALSE(check_grammar_limits("root ::= " + times("a|", 4'097)));
}

TEST(GrammarLimits, NestingIsBoundedButNotInsideTexts) {
  EXPECT_FALSE(check_grammar_limits("root ::= " + times("(", 60'000)));
  EXPECT_TRUE(check_grammar_limits("root ::= \"" + times("(", 1'000) + "\""));
  EXPECT_TRUE(check_grammar_limits("root ::= [" + times("(", 1'000) + "]"));
  EXPECT_TRUE(check_grammar_limits("root ::= " + times("(", 200) + "a" + times(")", 200)));
}

TEST(GrammarLimits, RepetitionsAreCounted) {
  EXPECT_FALSE(check_grammar_limits("root ::= \"x\"{5,2}"));
  EXPECT_FALSE(check_grammar_limits("root ::= " + times("[a-z]{1,2000} ", 4'000)));
  EXPECT_FALSE(check_grammar_limits("root ::= a{99999999999999999999}"));
  EXPECT_TRUE(check_grammar_limits("root ::= [0-9]{4} \"{5,2}\" b{2,}"));
}

TEST(GrammarLimits, OptionalItemsInARow) {
  EXPECT_FALSE(check_grammar_limits("root ::= " + times("a? ", 60) + "\".\"\na ::= [a-z]"));
  EXPECT_TRUE(check_grammar_limits("root ::= " + times("a? b ", 60)));
  EXPECT_TRUE(check_grammar_limits("root ::= " + times("a? | ", 60) + "b"));
}

TEST(GrammarLimits, UnfinishedTextsEndTheWalk) {
  for (const char* text : {"\"", "[", "root ::= \"\\", "a{", "a{1", "(", "#", "."}) EXPECT_TRUE(check_grammar_limits(text)) << text;
}

}  // namespace
}  // namespace inferd::engine
