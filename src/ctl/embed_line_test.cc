#include "ctl/embed_line.h"

#include <gtest/gtest.h>

namespace inferd::ctl {
namespace {

EmbedLine read(std::string_view line) {
  const auto parsed = parse_json_line(line);
  EXPECT_TRUE(parsed) << line << ": " << parsed.error().message;
  return parsed && *parsed ? **parsed : EmbedLine{"(nothing)"};
}

std::string error_of(std::string_view line) {
  const auto parsed = parse_json_line(line);
  return parsed ? "no error" : parsed.error().message;
}

TEST(EmbedLine, AStringOrAnObject) {
  EXPECT_EQ(read(R"("a \"text\"\nof two lines")").text, "a \"text\"\nof two lines");
  EXPECT_EQ(read(R"("plain")").id, "");
  const EmbedLine object = read(R"( {"id": 7, "more": [1], "text": "Wärme ☃"} )");
  EXPECT_EQ(object.text, "Wärme ☃");
  EXPECT_EQ(object.id, "7");
}

TEST(EmbedLine, AnIdOfAnyTypeComesBackAsItIs) {
  EXPECT_EQ(read(R"({"text":"a","id":"x\ty"})").id, R"("x\ty")");
  EXPECT_EQ(read(R"({"text":"a","id":{"b": [1, null], "a": 1.5}})").id, R"({"b":[1,null],"a":1.5})");
  EXPECT_EQ(read(R"({"text":"a","id":null})").id, "null");
  EXPECT_EQ(read(R"({"text":"a","id":18446744073709551615})").id, "18446744073709551615");
}

TEST(EmbedLine, ABlankLineIsNothing) {
  for (const char* line : {"", " ", "\t\r"}) {
    const auto parsed = parse_json_line(line);
    ASSERT_TRUE(parsed);
    EXPECT_FALSE(*parsed);
  }
}

TEST(EmbedLine, WhatIsWrong) {
  EXPECT_NE(error_of("plain text").find("--text"), std::string::npos);
  EXPECT_NE(error_of("\"\xFF\"").find("not JSON"), std::string::npos);
  EXPECT_NE(error_of("7").find("expected a JSON string"), std::string::npos);
  EXPECT_NE(error_of("[\"a\"]").find("expected a JSON string"), std::string::npos);
  EXPECT_NE(error_of("{}").find("`text`"), std::string::npos);
  EXPECT_NE(error_of(R"({"text":7})").find("`text`"), std::string::npos);
  EXPECT_NE(error_of(R"({"text":"a","text":"b"})").find("`text`"), std::string::npos);
  EXPECT_NE(error_of(R"({"text":"a","id":1e400})").find("`id`"), std::string::npos);
  EXPECT_EQ(error_of("\"\""), "the text is empty");
  EXPECT_EQ(error_of(R"({"text":""})"), "the text is empty");
}

TEST(EmbedLine, PlainText) {
  EXPECT_EQ(parse_text_line("\"quotes\" stay").value_or(EmbedLine{}).text, "\"quotes\" stay");
  EXPECT_EQ(parse_text_line(" ").value_or(EmbedLine{}).text, " ");
  EXPECT_FALSE(parse_text_line(""));
  EXPECT_FALSE(parse_text_line("\xC3"));
}

}  // namespace
}  // namespace inferd::ctl
