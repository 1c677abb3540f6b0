#include "ctl/tool_file.h"

#include <gtest/gtest.h>

namespace inferd::ctl {
namespace {

constexpr std::string_view kWeather = R"({"name":"weather","description":"Tells it.",
  "input_schema":{"type":"object","properties":{"city":{"type":"string"}}},"strict":true})";

void expect_wrong(std::string_view text, std::string_view says) {
  const auto tools = parse_tools(text, "t.json");
  ASSERT_FALSE(tools) << text;
  EXPECT_EQ(tools.error().code, Code::kUsage);
  EXPECT_TRUE(tools.error().message.starts_with("t.json: ")) << tools.error().message;
  EXPECT_NE(tools.error().message.find(says), std::string::npos) << tools.error().message;
}

TEST(ToolFile, OneToolOrAnArrayOfThem) {
  const auto one = parse_tools(kWeather, "t.json");
  ASSERT_TRUE(one) << one.error().message;
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ(one->front().name, "weather");
  EXPECT_EQ(one->front().description, "Tells it.");
  EXPECT_EQ(one->front().input_schema, R"({"type":"object","properties":{"city":{"type":"string"}}})");

  const auto two = parse_tools("[" + std::string(kWeather) + R"(,{"input_schema":{},"description":"","name":"Wärme"}]
)", "t.json");
  ASSERT_TRUE(two) << two.error().message;
  ASSERT_EQ(two->size(), 2u);
  EXPECT_EQ(two->back().name, "Wärme");
  EXPECT_EQ(two->back().input_schema, "{}");
}

TEST(ToolFile, WhatIsWrongIsNamed) {
  expect_wrong("", "not JSON");
  expect_wrong("{", "not JSON");
  expect_wrong("\xFF", "not JSON");
  expect_wrong("[]", "no tool in it");
  expect_wrong("\"weather\"", "no tool in it");
  expect_wrong("{}", "`name`");
  expect_wrong(R"({"type":"function","function":{"name":"f"}})", "expected {\"name\":TEXT");
  expect_wrong(R"({"name":7,"description":"","input_schema":{}})", "`name`");
  expect_wrong(R"({"name":"f","input_schema":{}})", "`description`");
  expect_wrong(R"({"name":"f","description":""})", "`input_schema`");
  expect_wrong(R"({"name":"f","description":"","input_schema":"{}"})", "`input_schema`: expected a JSON schema");
  expect_wrong(R"({"name":"f","name":"g","description":"","input_schema":{}})", "duplicate field `name`");
  expect_wrong("[" + std::string(kWeather) + ",7]", "`[1]`: expected an object");
  expect_wrong("[" + std::string(kWeather) + R"(,{"name":"f","description":"","input_schema":[]}])", "`[1].input_schema`");
}

TEST(ToolFile, ASchemaIsAnObject) {
  const auto schema = parse_schema(" {\"type\": \"integer\",\n \"minimum\": 0 }\n", "s.json");
  ASSERT_TRUE(schema) << schema.error().message;
  EXPECT_EQ(*schema, R"({"type":"integer","minimum":0})");
  for (const char* text : {"", "[]", "7", "null", "{}{}", "{\"minimum\":1e400}"}) {
    const auto wrong = parse_schema(text, "s.json");
    ASSERT_FALSE(wrong) << text;
    EXPECT_TRUE(wrong.error().message.starts_with("s.json: ")) << wrong.error().message;
  }
}

TEST(ToolFile, AMissingFileIsNamed) {
  const auto tools = read_tools("/nonexistent/t.json");
  ASSERT_FALSE(tools);
  EXPECT_NE(tools.error().message.find("/nonexistent/t.json"), std::string::npos);
  EXPECT_FALSE(read_schema("/nonexistent/s.json"));
}

}  // namespace
}  // namespace inferd::ctl
