#include "config/json_tree.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

using Type = JsonTree::Type;

std::string error_of(std::string_view text) {
  const auto tree = parse_json_tree(text);
  EXPECT_FALSE(tree) << text.substr(0, 100);
  if (tree) return "";
  EXPECT_EQ(tree.error().code, Code::kIntegrity);
  return tree.error().message;
}

bool says(std::string_view text, std::string_view part) { return error_of(text).find(part) != std::string::npos; }

TEST(JsonTree, ValuesKeepTheirOrderTheirDuplicatesAndTheirLiterals) {
  const auto tree = parse_json_tree(R"({"a":[1,-2,1e400,18446744073709551616,0.50],"b":{"c":null,"c":"é\n"},"":true})");
  ASSERT_TRUE(tree) << tree.error().message;
  EXPECT_EQ(tree->keys, (std::vector<std::string>{"a", "b", ""}));
  const JsonTree& numbers = tree->elements[0];
  ASSERT_EQ(numbers.elements.size(), 5u);
  const std::vector<std::string> literals = {"1", "-2", "1e400", "18446744073709551616", "0.50"};
  for (size_t i = 0; i < literals.size(); ++i) {
    EXPECT_EQ(numbers.elements[i].type, Type::kNumber);
    EXPECT_EQ(numbers.elements[i].text, literals[i]);
  }
  const JsonTree& object = tree->elements[1];
  EXPECT_EQ(object.keys, (std::vector<std::string>{"c", "c"}));
  EXPECT_EQ(object.elements[0].type, Type::kNull);
  EXPECT_EQ(object.elements[1].text, "é\n");
  EXPECT_TRUE(tree->elements[2].boolean);
}

TEST(JsonTree, AScalarIsATree) {
  EXPECT_EQ(parse_json_tree(" 7 ")->text, "7");
  EXPECT_EQ(parse_json_tree("null")->type, Type::kNull);
}

TEST(JsonTree, ErrorsSayTheLineAndTheColumn) {
  EXPECT_TRUE(says("{\n  \"a\": 1,\n}", "at line 3 column "));
  EXPECT_TRUE(says("[1 2]", "at line 1 column "));
  EXPECT_TRUE(says("{} {}", "something follows after the value at line 1"));
}

TEST(JsonTree, ACutTextIsSaidToBeCut) {
  const std::string whole = R"({"a":[1,true,"text"],"b":{"c":null}})";
  for (size_t length = 0; length < whole.size(); ++length) EXPECT_TRUE(says(whole.substr(0, length), "is the file cut?")) << length;
}

TEST(JsonTree, TextHasToBeUtf8) {
  EXPECT_TRUE(says("{\n\"a\":\"\xFF\"}", "UTF-8 in the line at line 2 column 1"));
  EXPECT_TRUE(says("\xEF\xBB\xBF{}", "byte order mark"));
}

TEST(JsonTree, DepthAndCountAreBounded) {
  EXPECT_TRUE(parse_json_tree(std::string(127, '[') + std::string(127, ']')));
  EXPECT_TRUE(says(std::string(128, '[') + std::string(128, ']'), "more than 127 nested"));
  std::string many = "[0";
  for (int i = 0; i < 100'000; ++i) many += ",0";
  EXPECT_TRUE(says(many + "]", "more than 100000 values"));
}

}  // namespace
}  // namespace inferd
