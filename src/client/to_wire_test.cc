#include "client/to_wire.h"

#include <gtest/gtest.h>

#include "base/base64.h"

namespace inferd::client {
namespace {

template <class Converted>
std::string refusal(const Converted& converted) {
  if (converted) return "not refused";
  EXPECT_EQ(converted.error().kind, Failure::Kind::kRefused);
  EXPECT_EQ(converted.error().code, "invalid_request");
  return converted.error().message;
}

TypedRequest with(Part part) {
  TypedRequest request;
  request.messages = {{"user", {std::move(part)}}};
  return request;
}

TEST(ToWire, AV1MessageIsOneTextBlock) {
  Request request;
  request.id = "r";
  request.messages = {{"system", "be kind"}, {"user", "hi"}, {"assistant", ""}};
  request.max_tokens = 7;
  request.temperature = 0.5;
  request.grammar = "root ::= \"a\"";
  request.stop = {"x"};
  request.batch = true;
  const auto converted = to_wire(request);
  ASSERT_TRUE(converted);
  EXPECT_EQ(converted->surface, Surface::kV1);
  EXPECT_EQ(converted->id, "r");
  ASSERT_EQ(converted->messages.size(), 3u);
  EXPECT_EQ(converted->messages[0].role, Role::kSystem);
  EXPECT_EQ(converted->messages[2].role, Role::kAssistant);
  ASSERT_EQ(converted->messages[1].content.size(), 1u);
  EXPECT_EQ(std::get<TextBlock>(converted->messages[1].content[0].held).text, "hi");
  EXPECT_EQ(converted->max_tokens, 7u);
  EXPECT_EQ(converted->sampling.temperature, 0.5);
  EXPECT_EQ(converted->sampling.top_p, std::nullopt);
  EXPECT_EQ(converted->grammar, request.grammar);
  EXPECT_EQ(converted->stop, request.stop);
  EXPECT_EQ(converted->priority, Priority::kBatch);
}

TEST(ToWire, AnUnknownRoleIsNamed) {
  Request request;
  request.messages = {{"tool", "x"}};
  EXPECT_EQ(refusal(to_wire(request)), "role \"tool\": expected system, user or assistant");
  TypedRequest typed;
  typed.messages = {{"User", {}}};
  EXPECT_EQ(refusal(to_wire(typed)), "role \"User\": expected system, user or assistant");
}

TEST(ToWire, MediaBecomeAttachmentsWithIdsOfTheirOwn) {
  TypedRequest request;
  const ImagePart image{.width = 1, .height = 1, .rgb = {0, 127, 255}};
  const AudioPart audio{.sample_rate = 16'000, .samples = {1.0f, -0.5f}};
  request.messages = {{"user", {{image}, {TextPart{"what is it?"}}}},
                      {"assistant", {{ToolUsePart{"tc-1", "listen", "{}"}}}},
                      {"user", {{ToolResultPart{"tc-1", {{audio}, {image}}}}}}};
  const auto converted = to_wire(request);
  ASSERT_TRUE(converted);
  EXPECT_EQ(converted->surface, Surface::kV2);
  ASSERT_EQ(converted->attachments.size(), 3u);

  const Attachment& first = converted->attachments[0];
  EXPECT_EQ(first.kind, MediaKind::kImage);
  EXPECT_EQ(first.width, 1u);
  EXPECT_EQ(first.height, 1u);
  EXPECT_EQ(first.base64, "AH//");
  const auto& shown = std::get<MediaBlock>(converted->messages[0].content[0].held);
  EXPECT_EQ(shown.kind, MediaKind::kImage);
  EXPECT_EQ(shown.attachment_id, first.id);

  const auto& result = std::get<ToolResultBlock>(converted->messages[2].content[0].held);
  EXPECT_EQ(result.tool_call_id, "tc-1");
  ASSERT_EQ(result.content.size(), 2u);
  const Attachment& second = converted->attachments[1];
  EXPECT_EQ(std::get<MediaBlock>(result.content[0].held).attachment_id, second.id);
  EXPECT_EQ(second.kind, MediaKind::kAudio);
  EXPECT_EQ(second.sample_rate, 16'000u);
  std::vector<unsigned char> bytes;
  ASSERT_TRUE(decode_base64(second.base64, bytes));
  EXPECT_EQ(bytes, (std::vector<unsigned char>{0, 0, 0x80, 0x3F, 0, 0, 0, 0xBF}));  // little-endian float32

  EXPECT_NE(first.id, second.id);
  EXPECT_NE(first.id, converted->attachments[2].id);
  EXPECT_FALSE(first.id.empty());
}

TEST(ToWire, JsonTextsBecomeCompactAndKeepTheOrderOfTheirKeys) {
  TypedRequest request = with({ToolUsePart{"tc-1", "f", " { \"b\" : 1 ,\n \"a\" : \"x \\n y\" } \r\n"}});
  request.tools = {{"f", "does it", "{\n\t\"type\": \"object\",\n\t\"properties\": {}\n}\n"}};
  request.json_schema = "{ \"type\" : \"integer\" }\n";
  const auto converted = to_wire(request);
  ASSERT_TRUE(converted);
  EXPECT_EQ(std::get<ToolUseBlock>(converted->messages[0].content[0].held).input, R"({"b":1,"a":"x \n y"})");
  ASSERT_EQ(converted->tools.size(), 1u);
  EXPECT_EQ(converted->tools[0].name, "f");
  EXPECT_EQ(converted->tools[0].description, "does it");
  EXPECT_EQ(converted->tools[0].input_schema, R"({"type":"object","properties":{}})");
  EXPECT_EQ(converted->json_schema, R"({"type":"integer"})");
}

TEST(ToWire, WhatShouldBeJsonAndIsNotIsNamed) {
  EXPECT_TRUE(refusal(to_wire(with({ToolUsePart{"tc-1", "f", "{"}}))).starts_with("input of the call of \"f\": not JSON: "));
  EXPECT_TRUE(refusal(to_wire(with({ToolUsePart{"tc-1", "f", ""}}))).starts_with("input of the call of \"f\": not JSON: "));
  EXPECT_TRUE(refusal(to_wire(with({ToolResultPart{"tc-1", {{ToolUsePart{"tc-2", "g", "{} {}"}}}}})))
                  .starts_with("input of the call of \"g\": not JSON: "));
  TypedRequest request = with({TextPart{"hi"}});
  request.tools = {{"f", "", "{}"}, {"g", "", "nonsense"}};
  EXPECT_TRUE(refusal(to_wire(request)).starts_with("input_schema of the tool \"g\": not JSON: "));
  request.tools.clear();
  request.json_schema = "{\"a\":}";
  EXPECT_TRUE(refusal(to_wire(request)).starts_with("json_schema: not JSON: "));
  request.json_schema = "{\"minimum\":1e400}";
  EXPECT_EQ(refusal(to_wire(request)), "json_schema: a number is beyond the range of a double");
}

TEST(ToWire, ToolChoices) {
  TypedRequest request = with({TextPart{"hi"}});
  EXPECT_FALSE(to_wire(request)->tool_choice);
  using Ours = inferd::ToolChoice::Mode;
  for (const auto& [mode, expected] : {std::pair(ToolChoice::Mode::kAuto, Ours::kAuto), {ToolChoice::Mode::kNone, Ours::kNone},
                                       {ToolChoice::Mode::kRequired, Ours::kRequired}}) {
    request.tool_choice = ToolChoice{mode, "ignored"};
    const auto converted = to_wire(request);
    ASSERT_TRUE(converted && converted->tool_choice);
    EXPECT_EQ(converted->tool_choice->mode, expected);
    EXPECT_EQ(converted->tool_choice->name, "");
  }
  request.tool_choice = ToolChoice{ToolChoice::Mode::kNamed, "f"};
  const auto named = to_wire(request);
  ASSERT_TRUE(named && named->tool_choice);
  EXPECT_EQ(named->tool_choice->mode, Ours::kNamed);
  EXPECT_EQ(named->tool_choice->name, "f");
}

TEST(ToWire, AnEmbedRequest) {
  EmbedRequest request{.id = "e", .input = {"a", "b"}, .dimensions = 3, .task = "retrieval_query", .local_only = true};
  auto converted = to_wire(request);
  ASSERT_TRUE(converted);
  EXPECT_EQ(converted->id, "e");
  EXPECT_EQ(converted->input, request.input);
  EXPECT_EQ(converted->dimensions, 3u);
  EXPECT_EQ(converted->task, EmbedTask::kRetrievalQuery);
  EXPECT_TRUE(converted->local_only);
  request.task.clear();
  converted = to_wire(request);
  ASSERT_TRUE(converted);
  EXPECT_FALSE(converted->task);
  request.task = "search";
  EXPECT_EQ(refusal(to_wire(request)), "task \"search\": there is no such task");
}

}  // namespace
}  // namespace inferd::client
