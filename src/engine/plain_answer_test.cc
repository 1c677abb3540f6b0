#include "engine/plain_answer.h"

#include <gtest/gtest.h>

namespace inferd::engine {
namespace {

TEST(PlainAnswer, NeighbouringTextIsOnePieceAndNoPieceIsEmpty) {
  PlainAnswer answer({});
  std::vector<Piece> out;
  EXPECT_FALSE(answer.push("\xF0\x9F", out));  // half a character
  EXPECT_TRUE(out.empty());
  EXPECT_FALSE(answer.push("\x98\x80", out));
  EXPECT_FALSE(answer.push(" two", out));
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].kind, Piece::Kind::kText);
  EXPECT_EQ(out[0].text, "😀 two");
  EXPECT_TRUE(answer.finish(true, out).has_value());
  EXPECT_EQ(out.size(), 1u);
  EXPECT_FALSE(answer.has_calls());
}

TEST(PlainAnswer, EndsBeforeAStopString) {
  PlainAnswer answer({"STOP"});
  std::vector<Piece> out;
  EXPECT_FALSE(answer.push("text ST", out));
  EXPECT_TRUE(answer.push("OP more", out));
  EXPECT_FALSE(answer.is_turn_end());
  EXPECT_TRUE(answer.finish(false, out).has_value());
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].text, "text ");
}

TEST(PlainAnswer, TheEndBringsWhatWasHeldBack) {
  PlainAnswer answer({"STOP"});
  std::vector<Piece> out;
  EXPECT_FALSE(answer.push("<tool_call> ST", out));
  EXPECT_TRUE(answer.finish(true, out).has_value());
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].text, "<tool_call> ST");
}

}  // namespace
}  // namespace inferd::engine
