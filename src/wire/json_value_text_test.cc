// append_json_value: order of keys, doubled keys, numbers.
#include "wire/json_value_text.h"

#include <gtest/gtest.h>

#include <iterator>
#include <random>
#include <string>
#include <utility>

namespace inferd::wire {
namespace {

std::string text_of(std::string_view json, bool sort_keys, bool finite = true) {
  JsonDocument document;
  EXPECT_TRUE(document.parse(json)) << json;
  std::string out = "before ";
  EXPECT_EQ(append_json_value(out, document.root(), sort_keys), finite) << json;
  EXPECT_TRUE(out.starts_with("before "));
  return out.substr(7);
}

TEST(JsonValueText, EveryTypeIsWrittenCompact) {
  for (const bool sort_keys : {false, true}) {
    EXPECT_EQ(text_of(" [ null , true , false , \"a\\u0041\\/\\n\\u0001ü\" , [ ] , { } , { \"\" : [ { \"k\" : 1 } ] } ] ", sort_keys),
              R"([null,true,false,"aA/\n\u0001ü",[],{},{"":[{"k":1}]}])");
    EXPECT_EQ(text_of("\"\"", sort_keys), "\"\"");
    EXPECT_EQ(text_of(" 7 ", sort_keys), "7");
  }
}

// Spec 02 §5: sorted at every level; a schema keeps the order in which its properties are to come
TEST(JsonValueText, KeysAreSortedByTheirBytesOrKeepTheirOrder) {
  const std::string json = R"({"b":{"z":1,"a":{"y":[{"d":1,"c":2}],"x":0}},"é":1,"Z":2,"aa":3,"a":4,"":5,"\u0001":6})";
  EXPECT_EQ(text_of(json, true), R"({"":5,"\u0001":6,"Z":2,"a":4,"aa":3,"b":{"a":{"x":0,"y":[{"c":2,"d":1}]},"z":1},"é":1})");
  EXPECT_EQ(text_of(json, false), R"({"b":{"z":1,"a":{"y":[{"d":1,"c":2}],"x":0}},"é":1,"Z":2,"aa":3,"a":4,"":5,"\u0001":6})");
}

TEST(JsonValueText, ADoubledKeyIsWrittenOnceAtItsFirstPlaceWithItsLastValue) {
  const std::string json = R"({"b":1,"a":{"x":1,"x":2},"b":{"c":3},"c":4,"\u0062":5})";
  EXPECT_EQ(text_of(json, false), R"({"b":5,"a":{"x":2},"c":4})");
  EXPECT_EQ(text_of(json, true), R"({"a":{"x":2},"b":5,"c":4})");
}

TEST(JsonValueText, IntegersAreExactAndOtherNumbersTheShortestTextOfTheirDouble) {
  for (const char* same : {"0", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "1.5",
                           "-0.0", "0.1", "1e-07", "1e+300", "5e-324", "1.7976931348623157e+308"}) {
    EXPECT_EQ(text_of(same, false), same);
  }
  for (const auto& [json, text] : {std::pair("1.0", "1"), std::pair("1.50", "1.5"), std::pair("1E2", "100"), std::pair("-0", "0"),
                                   std::pair("18446744073709551616", "18446744073709551616"), std::pair("0.1e1", "1")}) {
    EXPECT_EQ(text_of(json, false), text) << json;
  }
}

// Spec 01 §2.3
TEST(JsonValueText, ANumberBeyondADoubleIsTold) {
  for (const char* json : {"1e400", "-1e400", "[1,[2,{\"a\":1e999}],3]", "{\"a\":-1e309,\"b\":1}"}) {
    EXPECT_NE(text_of(json, false, false).find("null"), std::string::npos) << json;
    text_of(json, true, false);
  }
}

TEST(JsonValueText, TheDeepestDocumentIsWritten) {
  const std::string deep = std::string(127, '[') + std::string(127, ']');
  EXPECT_EQ(text_of(deep, true), deep);
}

std::string random_json(std::mt19937& random, int depth) {
  static constexpr std::string_view kScalars[] = {"null", "true", "-5", "18446744073709551615", "0.25", "\"\"", "\"a\\\"\\\\\\u0000é\""};
  static constexpr std::string_view kKeys[] = {"a", "b", "aa", "é", "", "\\n", "\\u0000", "B"};
  if (depth == 0 || random() % 3 == 0) return std::string(kScalars[random() % std::size(kScalars)]);
  const bool object = random() % 2 == 0;
  std::string json(1, object ? '{' : '[');
  for (size_t left = random() % 5; left > 0; --left) {
    if (json.size() > 1) json += ',';
    if (object) json += "\"" + std::string(kKeys[random() % std::size(kKeys)]) + "\":";
    json += random_json(random, depth - 1);
  }
  return json + (object ? '}' : ']');
}

TEST(JsonValueText, WhatWasWrittenIsWrittenTheSameAgain) {
  std::mt19937 random(1);
  for (int i = 0; i < 5'000; ++i) {
    const std::string json = random_json(random, 5);
    const std::string kept = text_of(json, false), sorted = text_of(json, true);
    EXPECT_EQ(text_of(kept, false), kept) << json;
    EXPECT_EQ(text_of(sorted, false), sorted) << json;
    EXPECT_EQ(text_of(kept, true), sorted) << json;
  }
}

}  // namespace
}  // namespace inferd::wire
