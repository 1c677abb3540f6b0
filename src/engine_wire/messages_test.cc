#include "engine_wire/messages.h"

#include <gtest/gtest.h>

#include <random>

namespace inferd::engine_wire {
namespace {

// Reading back what was written gives the same bytes again: with every field set, that means every field arrived.
void expect_round_trip(const ToEngine& message) {
  const std::string bytes = encode(message);
  const auto read = decode_to_engine(bytes);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->index(), message.index());
  EXPECT_EQ(encode(*read), bytes);
}
void expect_round_trip(const FromEngine& message) {
  const std::string bytes = encode(message);
  const auto read = decode_from_engine(bytes);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->index(), message.index());
  EXPECT_EQ(encode(*read), bytes);
}

Prepare full_prepare() {
  Prepare prepare{.id = 7, .scope = 1000, .request = {}};
  prepare.request.messages = {text_message(Role::kSystem, "be brief"), text_message(Role::kUser, std::string("a\0b", 3)), text_message(Role::kAssistant, "")};
  prepare.request.surface = Surface::kV2;
  prepare.request.messages.push_back({Role::kUser, {Block{MediaBlock{MediaKind::kAudio, "a"}}, Block{ToolUseBlock{"tc-1", "look", "{}"}},
                                                    Block{ToolResultBlock{"tc-1", {Block{TextBlock{"found"}}, Block{UnknownBlock{}}}}}}});
  prepare.request.attachments = {{MediaKind::kImage, "i", 4, 5, 0, "QUJD"}, {MediaKind::kAudio, "a", 0, 0, 16'000, ""}};
  prepare.request.tools = {{"look", "looks", "{\"type\":\"object\"}"}};
  prepare.request.tool_choice = ToolChoice{ToolChoice::Mode::kNamed, "look"};
  prepare.request.json_schema = "{}";
  prepare.request.sampling = {0.25, 0.5, 40, 9};
  prepare.request.max_tokens = 3;
  prepare.request.priority = Priority::kBatch;
  prepare.request.flow = {11, 12, 13};
  prepare.request.grammar = "root ::= \"a\"";
  prepare.request.stop = {"x", "yz"};
  return prepare;
}

Step full_step() {
  Step step;
  step.entries.push_back({.id = 1, .tokens = 2, .pieces = {{.text = "héllo"}, {.kind = Piece::Kind::kThinking, .text = "hm"}, {.kind = Piece::Kind::kToolCall, .call = {"tc-2", "look", "{}"}}},
                          .started = true, .prompt_done = 30, .computed = 20});
  step.entries.push_back({.id = 3, .tokens = 1, .stop_reason = StopReason::kError, .usage = {10, 11, 4}, .tool_choice_unsatisfied = true,
                          .error_code = Code::kInvalidRequest, .message = "why"});
  return step;
}

TEST(EngineMessages, EveryMessageIsReadBackAsItWasWritten) {
  expect_round_trip(ToEngine(Load{8192, 8, 16384, 2, uint64_t{1} << 40, 50, true, 3, 512, true, true, 280}));
  expect_round_trip(ToEngine(full_prepare()));
  expect_round_trip(ToEngine(Start{5, true}));
  expect_round_trip(ToEngine(Pause{5}));
  expect_round_trip(ToEngine(Cancel{6}));
  expect_round_trip(ToEngine(Embed{9, {"a", ""}, 128}));
  expect_round_trip(FromEngine(Embedded{9, 2, 7, {0.5F, -1.0F, 2.0F, 0.0F}}));
  expect_round_trip(FromEngine(Variant{"zen4"}));
  expect_round_trip(FromEngine(Proven{}));
  expect_round_trip(FromEngine(Loading{55}));
  expect_round_trip(FromEngine(Loaded{"SmolLM2", 8192, 8, 16384, 2048, 64, false, true, true, false, true, 384, 512}));
  expect_round_trip(FromEngine(Prepared{1, 2}));
  expect_round_trip(FromEngine(Refused{1, Code::kInvalidRequest, "prompt has 9 tokens"}));
  expect_round_trip(FromEngine(full_step()));
  expect_round_trip(FromEngine(Removed{8}));
  expect_round_trip(FromEngine(Failed{"no"}));
  expect_round_trip(FromEngine(LongStep{1400}));
  expect_round_trip(FromEngine(Warning{"no Landlock"}));
}

TEST(EngineMessages, AFieldKeepsItsValue) {
  const auto read = decode_to_engine(encode(ToEngine(full_prepare())));
  ASSERT_TRUE(read);
  const auto& request = std::get<Prepare>(*read).request;
  EXPECT_EQ(std::get<TextBlock>(request.messages[1].content[0].held).text, std::string("a\0b", 3));
  EXPECT_EQ(request.sampling.seed, 9u);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"x", "yz"}));
}

TEST(EngineMessages, ACutMessageIsAnErrorAtEveryLength) {
  for (const std::string& bytes : {encode(FromEngine(full_step())), encode(FromEngine(Refused{1, Code::kInternal, "why"}))}) {
    for (size_t length = 0; length < bytes.size(); ++length) EXPECT_FALSE(decode_from_engine(bytes.substr(0, length))) << length;
    EXPECT_FALSE(decode_from_engine(bytes + "x"));
  }
  const std::string prepare = encode(ToEngine(full_prepare()));
  for (size_t length = 0; length < prepare.size(); ++length) EXPECT_FALSE(decode_to_engine(prepare.substr(0, length))) << length;
}

TEST(EngineMessages, EmbeddedWithoutValuesIsRead) {
  const auto read = decode_from_engine(encode(FromEngine(Embedded{7, 0, 3, {}})));
  ASSERT_TRUE(read);
  EXPECT_TRUE(std::get<Embedded>(*read).values.empty());
}

TEST(EngineMessages, RandomBytesNeverCrash) {
  std::mt19937 random(1);
  int read = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random() % 64, '\0');
    for (char& c : bytes) c = static_cast<char>(random() % 8 == 0 ? random() : random() % 4);
    read += decode_from_engine(bytes).has_value();
    read += decode_to_engine(bytes).has_value();
  }
  EXPECT_LT(read, 40'000);
}

}  // namespace
}  // namespace inferd::engine_wire
