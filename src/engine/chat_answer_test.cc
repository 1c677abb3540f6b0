#include "engine/chat_answer.h"

#include <gtest/gtest.h>

namespace inferd::engine {
namespace {

constexpr double kAlways = 1e12;  // share of the time that reading may take
constexpr double kNever = 0;      // but for the first text and the end

AnswerPart text(std::string text) { return {Piece::Kind::kText, std::move(text), {}, {}}; }
AnswerPart thinking(std::string text) { return {Piece::Kind::kThinking, std::move(text), {}, {}}; }
AnswerPart call(std::string name, std::string arguments) { return {Piece::Kind::kToolCall, {}, std::move(name), std::move(arguments)}; }

// A form that is easy to write: "T:", "A:" and "C:" begin thinking, text and a call name(arguments), up to the next '|'. 'X' is refused.
ParsedAnswer parse(std::string_view answer) {
  ParsedAnswer parsed;
  parsed.refused = answer.find('X') != std::string_view::npos;
  if (parsed.refused) return parsed;
  while (!answer.empty()) {
    const size_t end = std::min(answer.find('|'), answer.size());
    const std::string_view part = answer.substr(0, end);
    parsed.open = end == answer.size();
    if (part.size() >= 2) {
      const std::string body(part.substr(2));
      const size_t bracket = body.find('(');
      if (part[0] == 'T') parsed.parts.push_back(thinking(body));
      if (part[0] == 'A') parsed.parts.push_back(text(body));
      if (part[0] == 'C' && bracket != std::string::npos) parsed.parts.push_back(call(body.substr(0, bracket), body.substr(bracket + 1)));
      if (part[0] == 'C' && bracket == std::string::npos) return parsed;  // it has no name yet
      parsed.covered += part.size();
    }
    if (!parsed.open) ++parsed.covered;
    answer.remove_prefix(std::min(end + 1, answer.size()));
  }
  return parsed;
}

ChatAnswer make(double share = kAlways, std::vector<std::string> stop = {}, std::function<ParsedAnswer(std::string_view)> parser = &parse) {
  return ChatAnswer({.parse = std::move(parser), .stop = std::move(stop), .turn_ends = {"<end>"}, .call_openers = {"C:"}, .marks = {"|"},
                     .ids = CallIds({}), .parse_share = share});
}

std::string shown(const std::vector<Piece>& pieces) {
  std::string out;
  for (const Piece& piece : pieces) {
    EXPECT_TRUE(piece.kind == Piece::Kind::kToolCall || !piece.text.empty());
    if (piece.kind == Piece::Kind::kToolCall) out += "[" + piece.call.name + " " + piece.call.input + "]";
    if (piece.kind == Piece::Kind::kText) out += "<" + piece.text + ">";
    if (piece.kind == Piece::Kind::kThinking) out += "(" + piece.text + ")";
  }
  return out;
}

TEST(ChatAnswer, ThinkingTextAndCallsComeInOrderAndCallsWhole) {
  const std::string answer = "T: why \n|A:first|C:f({\"b\":1,\"a\":[2]}|A: then|C:g({}|";
  for (const double share : {kAlways, kNever}) {
    auto stream = make(share);
    std::vector<Piece> out;
    for (const char c : answer) EXPECT_FALSE(stream.push(std::string(1, c), out));
    EXPECT_TRUE(stream.finish(true, out).has_value());
    EXPECT_EQ(shown(out), "(why)<first>[f {\"a\":[2],\"b\":1}]< then>[g {}]");
    EXPECT_TRUE(stream.has_calls());
  }
}

TEST(ChatAnswer, TextIsSentAsItComesAndACallWhenSomethingFollows) {
  auto stream = make();
  std::vector<Piece> out;
  stream.push("T:th", out);
  EXPECT_EQ(shown(out), "(th)");
  stream.push("ought|A:te", out);
  EXPECT_EQ(shown(out), "(thought)<te>");
  stream.push("xt|C:f({}", out);
  EXPECT_EQ(shown(out), "(thought)<text>");
  stream.push("|C:g(", out);
  EXPECT_EQ(shown(out), "(thought)<text>[f {}]");
}

TEST(ChatAnswer, IdsAreNewToTheConversation) {
  GenerateRequest request;
  request.messages.push_back({Role::kAssistant, {Block{ToolUseBlock{"tc-00000000", "f", "{}"}}}});
  CallIds ids(request);
  EXPECT_NE(ids.next(), ids.next());
  EXPECT_EQ(ids.next().size(), std::string("tc-00000000").size());
  EXPECT_TRUE(ids.next().starts_with("tc-"));
}

TEST(ChatAnswer, WhiteSpaceBetweenMarksIsNoText) {
  auto stream = make();
  std::vector<Piece> out;
  for (const char c : std::string("T:\n|A:\n\n|C:f({}|")) stream.push(std::string(1, c), out);
  EXPECT_TRUE(stream.finish(true, out).has_value());
  EXPECT_EQ(shown(out), "[f {}]");
  auto only_space = make();
  std::vector<Piece> space;
  only_space.push("A: \n", space);
  EXPECT_TRUE(only_space.finish(true, space).has_value());
  EXPECT_EQ(shown(space), "< \n>");
}

TEST(ChatAnswer, ACallThatIsNoJsonObjectIsMalformed) {
  for (const std::string arguments : {"{\"a\":", "[1]", "null", "x", "{\"a\":1e999}", "{\"a\":\"\\ud800\"}"}) {
    auto stream = make();
    std::vector<Piece> out;
    stream.push("A:text|C:f(" + arguments + "|A:more", out);
    const auto finished = stream.finish(true, out);
    ASSERT_FALSE(finished.has_value()) << arguments;
    EXPECT_EQ(finished.error().code, Code::kToolCallMalformed);
    EXPECT_EQ(shown(out), "<text>");
  }
}

TEST(ChatAnswer, TheBudgetMayEndInsideOfACall) {
  auto half = make();
  std::vector<Piece> out;
  half.push("A:text|C:f({\"a\":", out);
  EXPECT_TRUE(half.finish(false, out).has_value());
  EXPECT_EQ(shown(out), "<text>");
  EXPECT_FALSE(half.has_calls());
  auto whole = make();
  std::vector<Piece> sent;
  whole.push("C:f({}", sent);
  EXPECT_TRUE(whole.finish(false, sent).has_value());
  EXPECT_EQ(shown(sent), "[f {}]");
}

TEST(ChatAnswer, AModelThatEndsInsideOfACallHasWrittenAMalformedOne) {
  for (const std::string answer : {"A:text|C:f({}", "A:text|C:f({\"a\"", "A:text|C:"}) {
    auto stream = make();
    std::vector<Piece> out;
    stream.push(answer, out);
    const auto finished = stream.finish(true, out);
    ASSERT_FALSE(finished.has_value()) << answer;
    EXPECT_EQ(finished.error().code, Code::kToolCallMalformed);
    EXPECT_EQ(shown(out), "<text>");
  }
}

TEST(ChatAnswer, WhatTheParserRefusesIsTextUnlessItIsACall) {
  auto stream = make();
  std::vector<Piece> out;
  stream.push("A:good", out);
  stream.push(" X bad", out);
  EXPECT_EQ(shown(out), "<good>");
  EXPECT_TRUE(stream.finish(true, out).has_value());
  EXPECT_EQ(shown(out), "<good X bad>");
  auto calling = make();
  std::vector<Piece> nothing;
  calling.push("X C:f({}", nothing);
  EXPECT_FALSE(calling.finish(true, nothing).has_value());
  EXPECT_EQ(shown(nothing), "");
}

TEST(ChatAnswer, WhatWasSentStaysWhenTheParserChangesItsMind) {
  std::vector<ParsedAnswer> answers(3);
  answers[0].parts = {text("one two")};
  answers[1].parts = {text("one")};         // less
  answers[2].parts = {text("one 2 three")};  // other
  size_t asked = 0;
  auto stream = make(kAlways, {}, [&](std::string_view all) {
    ParsedAnswer answer = answers[std::min(asked++, answers.size() - 1)];
    answer.covered = all.size();
    return answer;
  });
  std::vector<Piece> out;
  for (int i = 0; i < 3; ++i) stream.push("y", out);
  EXPECT_TRUE(stream.finish(true, out).has_value());
  EXPECT_EQ(shown(out), "<one two2 three>");
}

TEST(ChatAnswer, EndsBeforeTheCallersStopString) {
  auto stream = make(kAlways, {"STOP"});
  std::vector<Piece> out;
  EXPECT_FALSE(stream.push("A:text ST", out));
  EXPECT_TRUE(stream.push("OP more <e", out));
  EXPECT_FALSE(stream.is_turn_end());
  EXPECT_TRUE(stream.finish(false, out).has_value());
  EXPECT_EQ(shown(out), "<text >");
}

TEST(ChatAnswer, ATurnEndOfTheTemplateIsTheEndOfTheTurn) {
  auto stream = make(kAlways, {"STOP"});
  std::vector<Piece> out;
  EXPECT_FALSE(stream.push("A:text ST<e", out));
  EXPECT_TRUE(stream.push("nd>junk", out));
  EXPECT_TRUE(stream.is_turn_end());
  EXPECT_TRUE(stream.finish(true, out).has_value());
  EXPECT_EQ(shown(out), "<text ST>");
}

TEST(ChatAnswer, CharactersStayWhole) {
  const std::string answer = "T:dächte|A:日本語 😀|C:f({\"città\":\"東京\"}|";
  auto stream = make();
  std::vector<Piece> out;
  for (const char c : answer) stream.push(std::string(1, c), out);
  EXPECT_TRUE(stream.finish(true, out).has_value());
  EXPECT_EQ(shown(out), "(dächte)<日本語 😀>[f {\"città\":\"東京\"}]");
}

TEST(ChatAnswer, WhatMayNestTooDeepIsNotGivenToTheParser) {
  size_t longest = 0;
  auto stream = make(kAlways, {}, [&](std::string_view all) {
    longest = std::max(longest, all.size());
    ParsedAnswer answer;
    answer.parts = {text(std::string(all))};
    answer.covered = all.size();
    answer.depth = all.size();
    return answer;
  });
  std::vector<Piece> out;
  for (int i = 0; i < 3000; ++i) stream.push("[", out);
  EXPECT_TRUE(stream.finish(true, out).has_value());
  EXPECT_LT(longest, 1000u);
  EXPECT_EQ(shown(out), "<" + std::string(3000, '[') + ">");
}

}  // namespace
}  // namespace inferd::engine
