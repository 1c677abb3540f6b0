#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace inferd::engine {
namespace {

TEST(TextStream, ACharacterSplitOverTokensArrivesWhole) {
  TextStream stream({});
  std::string out;
  EXPECT_FALSE(stream.push("a\xF0\x9F", out));
  EXPECT_EQ(out, "a");
  EXPECT_FALSE(stream.push("\x98\x80z", out));
  EXPECT_EQ(out, "a😀z");
}

TEST(TextStream, BytesThatAreNoTextBecomeReplacementCharacters) {
  TextStream stream({});
  std::string out;
  stream.push("a\xFFz\xE2\x82", out);
  stream.finish(out);
  EXPECT_EQ(out, "a\xEF\xBF\xBDz\xEF\xBF\xBD");
}

TEST(TextStream, NothingOfAStopStringIsSentWhereverItIsSplit) {
  const std::string text = "one stäp two";
  for (size_t a = 0; a <= text.size(); ++a) {
    for (size_t b = a; b <= text.size(); ++b) {
      TextStream stream({"stäp", "two"});
      std::string out;
      bool stopped = stream.push(text.substr(0, a), out);
      if (!stopped) stopped = stream.push(text.substr(a, b - a), out);
      if (!stopped) stopped = stream.push(text.substr(b), out);
      EXPECT_TRUE(stopped);
      EXPECT_EQ(out, "one ");
    }
  }
}

TEST(TextStream, TheBeginningOfAStopStringIsSentOnceItCannotBeOne) {
  TextStream stream({"END"});
  std::string out;
  stream.push("xEN", out);
  EXPECT_EQ(out, "x");
  stream.push("O", out);
  EXPECT_EQ(out, "xENO");
  stream.push("E", out);
  stream.finish(out);
  EXPECT_EQ(out, "xENOE");
}

TEST(TextStream, EveryPieceIsWellFormedUtf8) {
  const std::string text = "aäö€😀 stop";
  TextStream stream({"\xA4 never", "ö€x"});
  std::string all;
  for (const char c : text) {
    std::string out;
    stream.push(std::string_view(&c, 1), out);
    EXPECT_TRUE(is_valid_utf8(out));
    all += out;
  }
  stream.finish(all);
  EXPECT_EQ(all, text);
}

}  // namespace
}  // namespace inferd::engine
