#include "base/json_text.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

std::string json(std::string_view text) {
  std::string out;
  append_json_text(out, text);
  return out;
}

TEST(JsonText, EscapesWhatMustBeEscapedAndNothingElse) {
  EXPECT_EQ(json("a\"\\/\b\f\n\r\t"), R"("a\"\\/\b\f\n\r\t")");
  EXPECT_EQ(json(std::string_view("\0\x1f\x7f", 3)), "\"\\u0000\\u001f\x7f\"");
  EXPECT_EQ(json("äöü €😀"), "\"äöü €😀\"");
}

TEST(JsonText, AnEscapeIsFoundAtEveryPlaceOfALongText) {
  for (const char special : {'"', '\\', '\n', '\x01'}) {
    for (size_t length = 1; length < 40; ++length) {
      for (size_t at = 0; at < length; ++at) {
        std::string text(length, '\xC3');
        text[at] = special;
        EXPECT_EQ(json(text).size(), length + (special == '\x01' ? 7 : 3)) << length << " " << at;
      }
    }
  }
}

TEST(JsonText, NumbersReadBackAsTheyWere) {
  std::string out;
  append_json_number(out, 0.1);
  out += ' ';
  append_json_number(out, 1.0);
  out += ' ';
  append_json_number(out, uint64_t{18446744073709551615u});
  out += ' ';
  append_json_number(out, int64_t{-5});
  EXPECT_EQ(out, "0.1 1 18446744073709551615 -5");
}

}  // namespace
}  // namespace inferd
