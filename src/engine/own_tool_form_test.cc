#include "engine/own_tool_form.h"

#include <gtest/gtest.h>

#include "engine/own_tool_answer.h"
#include "engine/plain_answer.h"

namespace inferd::engine {
namespace {

OwnToolAnswer make() { return OwnToolAnswer(std::make_unique<PlainAnswer>(std::vector<std::string>()), {"f", "größe"}, CallIds({})); }

std::string shown(const std::vector<Piece>& pieces) {
  std::string out;
  for (const Piece& piece : pieces) {
    EXPECT_TRUE(piece.kind == Piece::Kind::kToolCall || !piece.text.empty());
    out += piece.kind == Piece::Kind::kToolCall ? "[" + piece.call.name + " " + piece.call.input + "]" : "<" + piece.text + ">";
  }
  return out;
}

TEST(OwnToolAnswer, TextAndCallsInterleaveHoweverTheyAreCut) {
  const std::string answer = "one <tool<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\": \"</tool_call> \\\"{\", \"a\": [1]}}\n</tool_call>\n"
                             "<tool_call>{\"arguments\":{},\"name\":\"größe\"}</tool_call> twö <";
  for (size_t step = 1; step <= answer.size(); ++step) {
    auto stream = make();
    std::vector<Piece> out;
    for (size_t at = 0; at < answer.size(); at += step) EXPECT_FALSE(stream.push(answer.substr(at, step), out));
    EXPECT_TRUE(stream.finish(true, out).has_value());
    EXPECT_EQ(shown(out), "<one <tool>[f {\"a\":[1],\"b\":\"</tool_call> \\\"{\"}][größe {}]< twö <>") << step;
    EXPECT_TRUE(stream.has_calls());
    EXPECT_NE(out[1].call.id, out[2].call.id);
  }
}

TEST(OwnToolAnswer, PlainTextPassesThrough) {
  auto stream = make();
  std::vector<Piece> out;
  stream.push(" text\n", out);
  EXPECT_TRUE(stream.finish(true, out).has_value());
  EXPECT_EQ(shown(out), "< text\n>");
  EXPECT_FALSE(stream.has_calls());
}

TEST(OwnToolAnswer, WhatIsNoCallBehindItsMarkIsMalformed) {
  const std::vector<std::string> calls = {"nonsense", "{}", "[]", "{\"name\":\"f\"}", "{\"name\":\"f\",\"arguments\":[]}",
                                          "{\"name\":\"unknown\",\"arguments\":{}}", "{\"name\":1,\"arguments\":{}}",
                                          "{\"name\":\"f\",\"arguments\":{}} more", "{\"name\":\"f\" \"arguments\":{}}", std::string(200, '{')};
  for (const std::string& call : calls) {
    auto stream = make();
    std::vector<Piece> out;
    stream.push("text<tool_call>" + call + "</tool_call> after", out);
    const auto finished = stream.finish(true, out);
    ASSERT_FALSE(finished.has_value()) << call;
    EXPECT_EQ(finished.error().code, Code::kToolCallMalformed);
    EXPECT_EQ(shown(out), "<text>");
  }
}

TEST(OwnToolAnswer, AnUnclosedCallIsMalformedAtTheEndOfATurnAndLeftOutAtTheEndOfTheBudget) {
  for (const std::string call : {"", "\n", "{\"name\":\"f\",\"argu", "{\"name\":\"f\",\"arguments\":{}"}) {
    auto ended = make();
    std::vector<Piece> out;
    ended.push("a<tool_call>" + call, out);
    EXPECT_FALSE(ended.finish(true, out).has_value());
    auto cut = make();
    cut.push("a<tool_call>" + call, out);
    EXPECT_TRUE(cut.finish(false, out).has_value());
    EXPECT_FALSE(cut.has_calls());
  }
  auto whole = make();
  std::vector<Piece> out;
  whole.push("<tool_call>{\"name\":\"f\",\"arguments\":{}}\n</tool", out);
  EXPECT_TRUE(whole.finish(false, out).has_value());
  EXPECT_EQ(shown(out), "[f {}]");
}

TEST(OwnToolForm, DeclarationsAreALineOfJsonEach) {
  const std::vector<Tool> tools = {{"f", "says \"hi\"\nand more", R"({"type":"object"})"}, {"größe", "", "{}"}};
  const std::string text = own_declarations(tools, false);
  EXPECT_NE(text.find("\n{\"name\":\"f\",\"description\":\"says \\\"hi\\\"\\nand more\",\"parameters\":{\"type\":\"object\"}}\n"), std::string::npos);
  EXPECT_NE(text.find("\n{\"name\":\"größe\",\"description\":\"\",\"parameters\":{}}\n"), std::string::npos);
  EXPECT_NE(own_declarations(tools, true), text);
}

TEST(OwnToolForm, AWrittenCallCanBeRead) {
  auto stream = make();
  std::vector<Piece> out;
  stream.push(own_call("größe", R"({"a":{"b":[1,2]}})"), out);
  EXPECT_TRUE(stream.finish(true, out).has_value());
  EXPECT_EQ(shown(out), R"([größe {"a":{"b":[1,2]}}])");
}

TEST(OwnToolForm, RulesGetAPrefixAndTheirTextsDoNot) {
  EXPECT_EQ(with_prefix("root ::= a-1 \"x \\\" y\" [a-z\\]] b{2,3} (c | d)?\na-1 ::= .\n", "p-"),
            "p-root ::= p-a-1 \"x \\\" y\" [a-z\\]] p-b{2,3} (p-c | p-d)?\np-a-1 ::= .\n");
}

TEST(OwnToolForm, TheGrammarHasEachToolsOwnDefinitions) {
  const Tool first{"f", "", R"({"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"integer"}}})"};
  const Tool second{"größe\"", "", R"({"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"string"}}})"};
  const std::vector<CallableTool> tools = {{&first, first.input_schema, "tools[0]"}, {&second, second.input_schema, "tools[1]"}};
  const auto grammar = own_call_grammar(tools, false);
  ASSERT_TRUE(grammar.has_value()) << grammar.error().message;
  EXPECT_NE(grammar->find("t0-root ::="), std::string::npos);
  EXPECT_NE(grammar->find("t1-root ::="), std::string::npos);
  EXPECT_NE(grammar->find(R"("\"größe\\\"\"")"), std::string::npos);
  const Tool wrong{"f", "", R"({"not":{}})"};
  const auto refused = own_call_grammar(std::vector<CallableTool>{{&wrong, wrong.input_schema, "tools[7]"}}, true);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kInvalidRequest);
  EXPECT_TRUE(refused.error().message.starts_with("tools[7].input_schema: /not"));
}

}  // namespace
}  // namespace inferd::engine
