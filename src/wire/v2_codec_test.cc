// The v2 codec against spec 02: golden files (tests/golden/v2) are read and written, then every rule of decoding and validation.
// What v2 shares with v1 in code (framing, JSON, sampling numbers, strings) is tested in depth in v1_codec_test and json_document_test.
#include "wire/v2_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>

#include "base/utf8.h"
#include "request/limits.h"
#include "wire/error_code.h"
#include "wire/golden_frames.h"

namespace inferd::wire::v2 {
namespace {

using Mode = ToolChoice::Mode;

const GoldenFolder kGolden("v2");
constexpr std::string_view kHi = R"("messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}])";

std::string golden(const std::string& name) { return kGolden.read(name); }

std::string encode(const GenerateRequest& request) {
  std::string out;
  append_request(out, request);
  return out + "\n";
}

std::string encode(const Response& response) {
  std::string out;
  if (const auto* frame = std::get_if<Frame>(&response)) {
    EXPECT_TRUE(append_piece(out, frame->id, frame->piece));
  } else if (const auto* done = std::get_if<Done>(&response)) {
    EXPECT_TRUE(append_done(out, done->id, done->completion, done->backend, done->route));
  } else if (const auto* failure = std::get_if<Failure>(&response)) {
    append_error(out, failure->id, failure->error.code, failure->error.message);
  } else {
    append_status(out, std::get<StatusFrame>(response));
  }
  return out;
}

GenerateRequest request_of(std::string_view line) {
  auto decoded = decode_request(line);
  if (auto* request = std::get_if<GenerateRequest>(&decoded)) return std::move(*request);
  ADD_FAILURE() << std::get<DecodeFailure>(decoded).message << ": " << line.substr(0, 300);
  return {};
}

DecodeFailure failure_of(std::string_view line) {
  auto decoded = decode_request(line);
  if (auto* failure = std::get_if<DecodeFailure>(&decoded)) return std::move(*failure);
  ADD_FAILURE() << "decoded: " << line.substr(0, 300);
  return {};
}

void expect_same(const std::vector<Block>& read, const std::vector<Block>& expected) {
  ASSERT_EQ(read.size(), expected.size());
  for (size_t i = 0; i < read.size(); ++i) {
    SCOPED_TRACE("block " + std::to_string(i));
    ASSERT_EQ(read[i].held.index(), expected[i].held.index());
    if (const auto* text = std::get_if<TextBlock>(&read[i].held)) {
      EXPECT_EQ(text->text, std::get<TextBlock>(expected[i].held).text);
    } else if (const auto* media = std::get_if<MediaBlock>(&read[i].held)) {
      EXPECT_EQ(media->kind, std::get<MediaBlock>(expected[i].held).kind);
      EXPECT_EQ(media->attachment_id, std::get<MediaBlock>(expected[i].held).attachment_id);
    } else if (const auto* call = std::get_if<ToolUseBlock>(&read[i].held)) {
      EXPECT_EQ(call->tool_call_id, std::get<ToolUseBlock>(expected[i].held).tool_call_id);
      EXPECT_EQ(call->name, std::get<ToolUseBlock>(expected[i].held).name);
      EXPECT_EQ(call->input, std::get<ToolUseBlock>(expected[i].held).input);
    } else if (const auto* result = std::get_if<ToolResultBlock>(&read[i].held)) {
      EXPECT_EQ(result->tool_call_id, std::get<ToolResultBlock>(expected[i].held).tool_call_id);
      expect_same(result->content, std::get<ToolResultBlock>(expected[i].held).content);
    }
  }
}

void expect_same(const GenerateRequest& read, const GenerateRequest& expected) {
  EXPECT_EQ(read.surface, Surface::kV2);
  EXPECT_EQ(read.id, expected.id);
  ASSERT_EQ(read.messages.size(), expected.messages.size());
  for (size_t i = 0; i < read.messages.size(); ++i) {
    SCOPED_TRACE("message " + std::to_string(i));
    EXPECT_EQ(read.messages[i].role, expected.messages[i].role);
    expect_same(read.messages[i].content, expected.messages[i].content);
  }
  ASSERT_EQ(read.attachments.size(), expected.attachments.size());
  for (size_t i = 0; i < read.attachments.size(); ++i) {
    EXPECT_EQ(read.attachments[i].kind, expected.attachments[i].kind) << i;
    EXPECT_EQ(read.attachments[i].id, expected.attachments[i].id) << i;
    EXPECT_EQ(read.attachments[i].width, expected.attachments[i].width) << i;
    EXPECT_EQ(read.attachments[i].height, expected.attachments[i].height) << i;
    EXPECT_EQ(read.attachments[i].sample_rate, expected.attachments[i].sample_rate) << i;
    EXPECT_EQ(read.attachments[i].base64, expected.attachments[i].base64) << i;
  }
  ASSERT_EQ(read.tools.size(), expected.tools.size());
  for (size_t i = 0; i < read.tools.size(); ++i) {
    EXPECT_EQ(read.tools[i].name, expected.tools[i].name) << i;
    EXPECT_EQ(read.tools[i].description, expected.tools[i].description) << i;
    EXPECT_EQ(read.tools[i].input_schema, expected.tools[i].input_schema) << i;
  }
  EXPECT_EQ(read.sampling.temperature, expected.sampling.temperature);
  EXPECT_EQ(read.sampling.top_p, expected.sampling.top_p);
  EXPECT_EQ(read.sampling.top_k, expected.sampling.top_k);
  EXPECT_EQ(read.sampling.seed, expected.sampling.seed);
  EXPECT_EQ(read.max_tokens, expected.max_tokens);
  EXPECT_EQ(read.stream, expected.stream);
  EXPECT_EQ(read.stop, expected.stop);
  EXPECT_EQ(read.priority, expected.priority);
  EXPECT_EQ(read.local_only, expected.local_only);
  EXPECT_EQ(read.progress, expected.progress);
  ASSERT_EQ(read.tool_choice.has_value(), expected.tool_choice.has_value());
  if (read.tool_choice) {
    EXPECT_EQ(read.tool_choice->mode, expected.tool_choice->mode);
    EXPECT_EQ(read.tool_choice->name, expected.tool_choice->name);
  }
  EXPECT_EQ(read.json_schema, expected.json_schema);
  EXPECT_EQ(read.grammar, "");
  EXPECT_EQ(read.image_token_budget, std::nullopt);
}

Block text(std::string text) { return {TextBlock{std::move(text)}}; }
Block image(std::string id) { return {MediaBlock{MediaKind::kImage, std::move(id)}}; }
Block call(std::string id, std::string name, std::string input) {
  return {ToolUseBlock{std::move(id), std::move(name), std::move(input)}};
}
Block result(std::string id, std::vector<Block> content) { return {ToolResultBlock{std::move(id), std::move(content)}}; }

Attachment image_of(std::string id, uint32_t width, uint32_t height, std::string bytes) {
  return {.kind = MediaKind::kImage, .id = std::move(id), .width = width, .height = height, .base64 = std::move(bytes)};
}
Attachment audio_of(std::string id, uint32_t sample_rate, std::string bytes) {
  return {.kind = MediaKind::kAudio, .id = std::move(id), .sample_rate = sample_rate, .base64 = std::move(bytes)};
}
Attachment video_of(std::string id, std::string bytes) {
  return {.kind = MediaKind::kVideo, .id = std::move(id), .base64 = std::move(bytes)};
}

GenerateRequest hi(std::string id = "") {
  GenerateRequest request;
  request.surface = Surface::kV2;
  request.id = std::move(id);
  request.messages = {text_message(Role::kUser, "hi")};
  return request;
}

GenerateRequest hi_with_tool(std::optional<ToolChoice> choice) {
  GenerateRequest request = hi();
  request.tools = {{"t", "d", R"({"type":"object"})"}};
  request.tool_choice = std::move(choice);
  return request;
}

// The requests of the golden files that are read and written.
std::map<std::string, GenerateRequest> written_requests() {
  std::map<std::string, GenerateRequest> files;
  files["request_text_only"] = hi();
  files["request_example"] = hi("a1");
  files["request_example"].max_tokens = 32;

  auto& published = files["request_all_published_fields"] = hi("req-7");
  published.messages = {
      text_message(Role::kSystem, "be brief"),
      {Role::kUser,
       {text("what is this?"), image("i"), {MediaBlock{MediaKind::kAudio, "a"}}, {MediaBlock{MediaKind::kVideo, "v"}}}},
      {Role::kAssistant, {text(""), call("tc-1", "look_up", R"({"deep":{"a":[1,{"x":-2,"y":null}],"b":true},"query":"cat"})")}},
      {Role::kUser, {result("tc-1", {text("a cat"), image("i")}), result("tc-2", {})}}};
  published.attachments = {image_of("i", 1, 2, "AAECAwQF"), audio_of("a", 16000, "AAAAAA=="), video_of("v", "")};
  published.tools = {{"look_up", "Looks something up.",
                      R"({"type":"object","properties":{"query":{"type":"string"},"deep":{}},"required":["query"]})"},
                     {"", "", "true"}};
  published.sampling = {.temperature = 0.7, .top_p = 0.9, .top_k = 40, .seed = {}};
  published.max_tokens = 256;
  published.stream = false;

  auto& all = files["request_all_fields"] = hi("req-8");
  all.attachments = {image_of("i", 4294967295, 0, "not base64")};
  all.tools = {{"t", "d", "{}"}};
  all.sampling = {.temperature = 0.25, .top_p = 0.5, .top_k = 1, .seed = 42};
  all.max_tokens = 2;
  all.stream = false;
  all.stop = {"\n\n", "END"};
  all.priority = Priority::kBatch;
  all.local_only = true;
  all.progress = true;
  all.tool_choice = ToolChoice{Mode::kNone, {}};
  all.json_schema = R"({"type":"object","properties":{"z":{"type":"number","minimum":-1.5},)"
                    R"("a":{"enum":["x",null,18446744073709551615,-9223372036854775808]}},"required":["z","a"]})";

  auto& additive = files["request_additive_fields"] = hi("req-9");
  additive.sampling.seed = 0;
  additive.stop = {"."};
  additive.priority = Priority::kBatch;
  additive.local_only = true;
  additive.progress = true;

  files["request_tool_choice_auto"] = hi_with_tool(ToolChoice{Mode::kAuto, {}});
  files["request_tool_choice_none"] = hi_with_tool(ToolChoice{Mode::kNone, {}});
  files["request_tool_choice_required"] = hi_with_tool(ToolChoice{Mode::kRequired, {}});
  files["request_tool_choice_named"] = hi_with_tool(ToolChoice{Mode::kNamed, "t"});

  files["request_response_format"] = hi();
  files["request_response_format"].json_schema = R"({"type":"string"})";
  files["request_response_format_of_any_json"] = hi();
  files["request_response_format_of_any_json"].json_schema = "null";

  files["request_no_messages"] = hi("req-10");
  files["request_no_messages"].messages = {};

  auto& zeros = files["request_zeros"] = hi("req-11");
  zeros.messages = {text_message(Role::kUser, "")};
  zeros.attachments = {image_of("", 0, 0, ""), audio_of("", 0, "")};
  zeros.sampling = {.temperature = 0, .top_p = 0, .top_k = 0, .seed = 0};
  zeros.max_tokens = 0;

  auto& limits = files["request_u32_limits"] = hi("req-12");
  limits.messages = {{Role::kUser, {}}};
  limits.attachments = {audio_of("a", 4294967295, "")};
  limits.sampling = {.temperature = -1.5, .top_p = 1e30, .top_k = 4294967295, .seed = 4294967295};
  limits.max_tokens = 4294967295;

  const std::string escaped_json = R"("\b\f\n\r\t\u0000\u0001\u001f ü☃𝄞 </script>")";
  auto& escaped = files["request_escaped_text"] = hi(kEscapedId);
  escaped.messages = {{Role::kUser,
                       {text(kEscapedText), image(kEscapedId),
                        call(kEscapedId, kEscapedText, "{" + escaped_json + ":" + escaped_json + "}"), result(kEscapedText, {})}}};
  escaped.attachments = {video_of(kEscapedId, kEscapedText)};
  escaped.tools = {{kEscapedId, kEscapedText, "{\"\\\"\\\\/\x7f\":" + escaped_json + "}"}};

  auto& unknown = files["request_unknown_block_and_kind"] = hi("req-13");
  unknown.messages = {{Role::kUser, {{UnknownBlock{}}}}};
  unknown.attachments.resize(1);
  unknown.attachments[0].kind = MediaKind::kUnknown;

  auto& sorted = files["request_sorted_input"] = hi();
  sorted.messages = {{Role::kAssistant, {call("tc-1", "f", R"({"Z":2,"a":"A","b":{"a":[],"z":0.1},"é":1})")}}};
  sorted.tools = {{"f", "d", R"({"type":"object","b":1,"a":{"d":1,"c":12345678901234567890}})"}};
  return files;
}

// Files that say the same as another one in a form that we never write.
const std::map<std::string, std::string> kReadRequests = {
    {"request_defaults_spelled_out", "request_text_only"},
    {"request_nulls", "request_text_only"},
    {"request_unknown_fields", "request_example"},
    {"request_other_key_order", "request_example"},
    {"request_white_space", "request_example"},
    {"request_document_block", "request_unknown_block_and_kind"},
    {"request_unsorted_input", "request_sorted_input"},
};
const std::string kDocumentedExample = "request_documented_example";

Frame frame(std::string id, Piece::Kind kind, std::string text) { return {std::move(id), {kind, std::move(text), {}}}; }
Frame frame(std::string id, ToolCall call) { return {std::move(id), {Piece::Kind::kToolCall, {}, std::move(call)}}; }
Done done(std::string id, StopReason reason, Usage usage, std::string backend, std::string route) {
  return {std::move(id), {reason, usage}, std::move(backend), std::move(route)};
}

std::map<std::string, Response> written_responses() {
  constexpr uint32_t kMax = 4294967295;
  const auto error = [](std::string id, Code code, std::string message) {
    return Failure{std::move(id), {code, std::move(message)}};
  };
  Done unsatisfied = done("a1", StopReason::kLength, {12, 64, 0}, "llamacpp", "local");
  unsatisfied.completion.tool_choice_unsatisfied = true;
  return {
      {"frame_text", frame("a1", Piece::Kind::kText, "Hel")},
      {"frame_text_empty", frame("", Piece::Kind::kText, "")},
      {"frame_text_escaped", frame(kEscapedId, Piece::Kind::kText, kEscapedText)},
      {"frame_thinking", frame("a1", Piece::Kind::kThinking, "Let me see.")},
      {"frame_tool_use", frame("a1", {"tc-1", "get_weather", R"({"days":3,"place":"Bern","units":{"temperature":"C"}})"})},
      {"frame_tool_use_null_input", frame("a1", {kEscapedId, kEscapedText, "null"})},
      {"done_end_turn", done("a1", StopReason::kEnd, {12, 2, 8}, "llamacpp", "local")},
      {"done_max_tokens", done("a2", StopReason::kLength, {kMax, kMax, kMax}, "mock", "mock")},
      {"done_tool_use", done("a1", StopReason::kToolUse, {12, 9, 0}, "llamacpp", "local")},
      {"done_stop_sequence", done("a1", StopReason::kStopSequence, {12, 2, 0}, "llamacpp", "local")},
      {"done_cancelled", done("a3", StopReason::kCancelled, {12, 1, 0}, "llamacpp", "llamacpp")},
      {"done_error", done("", StopReason::kError, {}, "openai-compat", "far \"away\"")},
      {"done_tool_choice_unsatisfied", unsatisfied},
      {"error_queue_full", error("a1", Code::kQueueFull, "queue full")},
      {"error_backend_unavailable", error("a1", Code::kBackendUnavailable, "backend ended stream without terminal frame")},
      {"error_invalid_request", error("a1", Code::kInvalidRequest, "invalid request: messages[0].content must not be empty")},
      {"error_frame_too_large", error("", Code::kFrameTooLarge, "frame exceeds 67108864 byte cap")},
      {"error_internal", error("a1", Code::kInternal, "backend \"llamacpp\" does not advertise v2 capability")},
      {"error_attachment_unsupported", error("a1", Code::kAttachmentUnsupported, "a video")},
      {"error_tool_call_malformed", error("a1", Code::kToolCallMalformed, "\"quoted\"\n")},
      {"status_with_position", StatusFrame{"a1", "queued", 3}},
      {"status_prefill", StatusFrame{.id = "a1", .status = "prefill", .prompt_tokens_done = 512, .prompt_tokens = 4000}},
  };
}

std::map<std::string, Response> read_responses() {
  return {
      {"done_of_0_2_1", done("a1", StopReason::kEnd, {12, 2, 0}, "llamacpp", "")},
      {"done_stop_reason_before_usage", done("a1", StopReason::kToolUse, {12, 9, 0}, "llamacpp", "local")},
      {"done_other_key_order_and_unknown_fields", written_responses().at("done_end_turn")},
      {"frame_tool_use_unsorted_input", written_responses().at("frame_tool_use")},
  };
}

std::string refusal(const GenerateRequest& request) {
  const auto valid = validate(request);
  if (valid) return "";
  EXPECT_EQ(valid.error().code, Code::kInvalidRequest);
  EXPECT_TRUE(valid.error().message.starts_with("invalid request: ")) << valid.error().message;
  return valid.error().message.substr(std::string_view("invalid request: ").size());
}

std::string refusal_of(const std::string& body) { return refusal(request_of("{" + body + "}")); }

// Golden files.

TEST(V2Golden, EveryFileIsOneLineAndIsTested) {
  std::set<std::string> tested = {kDocumentedExample};
  for (const auto& [name, request] : written_requests()) tested.insert(name);
  for (const auto& [name, same] : kReadRequests) tested.insert(name);
  for (const auto& [name, response] : written_responses()) tested.insert(name);
  for (const auto& [name, response] : read_responses()) tested.insert(name);
  kGolden.expect_one_line_each_and(tested);
}

// P16, spec 02 §2, README 3
TEST(V2Golden, P16RequestsAreReadIntoTheirFields) {
  for (const auto& [name, request] : written_requests()) {
    SCOPED_TRACE(name);
    expect_same(request_of(line_of(golden(name))), request);
  }
}

TEST(V2Golden, P16RequestsAreWrittenByteForByte) {
  for (const auto& [name, request] : written_requests()) EXPECT_EQ(encode(request), golden(name)) << name;
}

// Spec 01 §2.1, §2.3; 02 §5 (keys of `input` sorted), P22 (an unknown block and its fields)
TEST(V2Golden, OtherFormsOfARequestMeanTheSame) {
  const auto requests = written_requests();
  for (const auto& [name, same] : kReadRequests) {
    SCOPED_TRACE(name);
    expect_same(request_of(line_of(golden(name))), requests.at(same));
  }
}

TEST(V2Golden, P26TheDocumentedRequestIsReadAndValid) {
  const GenerateRequest request = request_of(line_of(golden(kDocumentedExample)));
  EXPECT_EQ(refusal(request), "");
  ASSERT_EQ(request.messages.size(), 2u);
  EXPECT_EQ(request.messages[0].role, Role::kSystem);
  expect_same(request.messages[1].content, {text("What is in this picture?"), image("img-1")});
  ASSERT_EQ(request.attachments.size(), 1u);
  EXPECT_EQ(request.attachments[0].width, 256u);
  EXPECT_EQ(request.attachments[0].height, 256u);
  EXPECT_EQ(request.attachments[0].base64, "<base64 of 196608 bytes>");
  ASSERT_EQ(request.tools.size(), 1u);
}

// P23, P24, spec 02 §5
TEST(V2Golden, P23P24ResponsesAreWrittenByteForByte) {
  for (const auto& [name, response] : written_responses()) EXPECT_EQ(encode(response), golden(name)) << name;
}

// Also what 0.2.1 sends, `stop_reason` before `usage` (P27), and fields that we do not know
TEST(V2Golden, P23P24P27ResponsesAreReadIntoTheirFields) {
  auto responses = written_responses();
  responses.merge(read_responses());
  for (const auto& [name, expected] : responses) {
    SCOPED_TRACE(name);
    const auto read = decode_response(line_of(golden(name)));
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(read->index(), expected.index());
    EXPECT_EQ(encode(*read), encode(expected));  // every field is in the bytes
  }
}

// P23 literally
TEST(V2Golden, P23FramesHaveTheTextsThatPublishedTestsLookFor) {
  EXPECT_NE(golden("done_tool_use").find(R"("stop_reason":"tool_use")"), std::string::npos);
  EXPECT_NE(golden("done_end_turn").find(R"("stop_reason":"end_turn")"), std::string::npos);
  EXPECT_NE(golden("error_queue_full").find(R"("code":"queue_full")"), std::string::npos);
}

TEST(V2Responses, P25DoneAndErrorEndARequestFramesAndStatusDoNot) {
  for (const auto& [name, response] : written_responses()) {
    EXPECT_EQ(is_terminal(response), name.starts_with("done") || name.starts_with("error")) << name;
  }
}

// Requests: defaults and strictness.

// Spec 02 §1: "no default sampling values at the wire layer"
TEST(V2Requests, WhatIsNotGivenIsAbsent) {
  const GenerateRequest request = request_of(golden("request_text_only"));
  EXPECT_EQ(request.surface, Surface::kV2);
  EXPECT_EQ(request.id, "");
  EXPECT_EQ(request.sampling.temperature, std::nullopt);
  EXPECT_EQ(request.sampling.top_p, std::nullopt);
  EXPECT_EQ(request.sampling.top_k, std::nullopt);
  EXPECT_EQ(request.sampling.seed, std::nullopt);
  EXPECT_EQ(request.max_tokens, std::nullopt);
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.attachments.empty());
  EXPECT_TRUE(request.tools.empty());
  EXPECT_FALSE(request.tool_choice);
  EXPECT_FALSE(request.json_schema);
  EXPECT_TRUE(request.stop.empty());
  EXPECT_EQ(request.priority, Priority::kInteractive);
  EXPECT_FALSE(request.local_only);
  EXPECT_FALSE(request.progress);
}

// What v1 leaves out because it is v1's default says something on v2
TEST(V2Writing, SamplingThatIsTheDefaultOfV1IsWritten) {
  GenerateRequest request = hi();
  request.sampling = {.temperature = kDefaultTemperature, .top_p = kDefaultTopP, .top_k = kDefaultTopK, .seed = {}};
  request.max_tokens = kDefaultMaxTokens;
  EXPECT_EQ(encode(request), "{" + std::string(kHi) + R"(,"temperature":1,"top_p":0.95,"top_k":64,"max_tokens":1000})" "\n");
  expect_same(request_of(line_of(encode(request))), request);
}

struct FieldCase {
  std::string named;  // the path that the message has to name (architecture §5)
  std::string body;   // after {"id":"r",
};

std::string block_body(const std::string& block) { return R"("messages":[{"role":"user","content":[)" + block + "]}]"; }

std::vector<FieldCase> message_cases() {
  const std::string first = "messages[0].content[0]";
  std::vector<FieldCase> cases = {
      {"messages", R"("x":1)"},
      {"messages", R"("messages":null)"},
      {"messages", R"("messages":{})"},
      {"messages", std::string(kHi) + "," + std::string(kHi)},
      {"messages[0]", R"("messages":[1])"},
      {"messages[0].role", R"("messages":[{"content":[]}])"},
      {"messages[0].role", R"("messages":[{"role":"tool","content":[]}])"},
      {"messages[0].role", R"("messages":[{"role":"User","content":[]}])"},
      {"messages[0].content", R"("messages":[{"role":"user"}])"},
      {"messages[0].content", R"("messages":[{"role":"user","content":null}])"},
      {"messages[0].content", R"("messages":[{"role":"user","content":"hi"}])"},
      {"messages[0].content", R"("messages":[{"role":"user","content":{"type":"text","text":"hi"}}])"},
      {"messages[1].content", R"("messages":[{"role":"user","content":[]},{"role":"user","content":7}])"},
      {"messages[0].content[1]", block_body(R"({"type":"text","text":"a"},"b")")},
      {first, block_body("null")},
      {first, block_body("[]")},
      {first + ".type", block_body("{}")},
      {first + ".type", block_body(R"({"text":"a"})")},
      {first + ".type", block_body(R"({"type":null,"text":"a"})")},
      {first + ".type", block_body(R"({"type":1,"text":"a"})")},
      {first + ".type", block_body(R"({"type":"text","type":"text","text":"a"})")},
      {first + ".text", block_body(R"({"type":"text"})")},
      {first + ".text", block_body(R"({"type":"text","text":null})")},
      {first + ".text", block_body(R"({"type":"text","text":["a"]})")},
      {first + ".text", block_body(R"({"type":"text","text":"a","text":"a"})")},
      {first + ".tool_call_id", block_body(R"({"type":"tool_use","name":"n","input":{}})")},
      {first + ".name", block_body(R"({"type":"tool_use","tool_call_id":"i","input":{}})")},
      {first + ".name", block_body(R"({"type":"tool_use","tool_call_id":"i","name":null,"input":{}})")},
      {first + ".input", block_body(R"({"type":"tool_use","tool_call_id":"i","name":"n"})")},
      {first + ".input", block_body(R"({"type":"tool_use","tool_call_id":"i","name":"n","input":1,"input":2})")},
      {first + ".input", block_body(R"({"type":"tool_use","tool_call_id":"i","name":"n","input":{"a":[1e400]}})")},
      {first + ".tool_call_id", block_body(R"({"type":"tool_result","content":[]})")},
      {first + ".content", block_body(R"({"type":"tool_result","tool_call_id":"i"})")},
      {first + ".content", block_body(R"({"type":"tool_result","tool_call_id":"i","content":null})")},
      {first + ".content", block_body(R"({"type":"tool_result","tool_call_id":"i","content":"done"})")},
      {first + ".content[1].text",
       block_body(R"({"type":"tool_result","tool_call_id":"i","content":[{"type":"text","text":""},{"type":"text"}]})")},
      {first + ".content[0].content[0]",
       block_body(R"({"type":"tool_result","tool_call_id":"i","content":[{"type":"tool_result","tool_call_id":"j","content":[0]}]})")},
  };
  for (const std::string type : {"image", "audio", "video"}) {
    cases.push_back({first + ".attachment_id", block_body(R"({"type":")" + type + "\"}")});
    cases.push_back({first + ".attachment_id", block_body(R"({"type":")" + type + R"(","attachment_id":5})")});
  }
  return cases;
}

std::vector<FieldCase> field_cases() {
  const std::string hi(kHi);
  std::vector<FieldCase> cases = message_cases();
  const auto wrong = [&](std::string_view named, std::string_view field, std::initializer_list<const char*> values) {
    for (const char* value : values) cases.push_back({std::string(named), hi + ",\"" + std::string(field) + "\":" + value});
  };
  wrong("attachments", "attachments", {"null", "{}", R"("a")"});
  wrong("attachments[0]", "attachments", {"[null]", "[[]]", R"(["a"])"});
  wrong("attachments[0].kind", "attachments", {"[{}]", R"([{"id":"a"}])", R"([{"kind":null}])", R"([{"kind":5}])",
                                               R"([{"kind":"image","kind":"image"}])"});
  wrong("attachments[0].id", "attachments", {R"([{"kind":"image","width":1,"height":1,"bytes":""}])", R"([{"kind":"video","bytes":""}])",
                                             R"([{"kind":"audio","id":null,"sample_rate":1,"bytes":""}])"});
  wrong("attachments[0].bytes", "attachments", {R"([{"kind":"image","id":"a","width":1,"height":1}])", R"([{"kind":"video","id":"a"}])",
                                                R"([{"kind":"audio","id":"a","sample_rate":1,"bytes":[1]}])"});
  wrong("attachments[0].width", "attachments", {R"([{"kind":"image","id":"a","height":1,"bytes":""}])",
                                                R"([{"kind":"image","id":"a","width":null,"height":1,"bytes":""}])",
                                                R"([{"kind":"image","id":"a","width":1.0,"height":1,"bytes":""}])",
                                                R"([{"kind":"image","id":"a","width":-1,"height":1,"bytes":""}])"});
  wrong("attachments[0].height", "attachments", {R"([{"kind":"image","id":"a","width":1,"bytes":""}])",
                                                 R"([{"kind":"image","id":"a","width":1,"height":4294967296,"bytes":""}])"});
  wrong("attachments[0].sample_rate", "attachments", {R"([{"kind":"audio","id":"a","bytes":""}])",
                                                      R"([{"kind":"audio","id":"a","sample_rate":"16000","bytes":""}])"});
  wrong("attachments[1].id", "attachments", {R"([{"kind":"later"},{"kind":"video","bytes":""}])"});
  wrong("tools", "tools", {"null", "{}", R"("t")"});
  wrong("tools[0]", "tools", {"[null]", R"(["t"])"});
  wrong("tools[0].name", "tools", {R"([{"description":"","input_schema":{}}])", R"([{"name":5,"description":"","input_schema":{}}])"});
  wrong("tools[0].description", "tools", {R"([{"name":"","input_schema":{}}])", R"([{"name":"","description":null,"input_schema":{}}])"});
  wrong("tools[0].input_schema", "tools", {R"([{"name":"","description":""}])",
                                           R"([{"name":"","description":"","input_schema":{},"input_schema":{}}])",
                                           R"([{"name":"","description":"","input_schema":{"minimum":-1e400}}])"});
  wrong("temperature", "temperature", {R"("1")", "true", "1e400"});
  wrong("top_k", "top_k", {"64.0", "-1", "4294967296"});
  wrong("max_tokens", "max_tokens", {"1.5", "-1", R"("9")"});
  wrong("stream", "stream", {R"("true")", "1"});
  wrong("seed", "seed", {"1.0", "-1", "4294967296"});
  wrong("stop", "stop", {R"("x")", "5"});
  wrong("stop[1]", "stop", {R"(["a",1])"});
  wrong("priority", "priority", {"1", R"(["batch"])"});
  wrong("local_only", "local_only", {"0"});
  wrong("progress", "progress", {R"("yes")"});
  wrong("tool_choice", "tool_choice", {"5", "true", "[]"});
  wrong("tool_choice.type", "tool_choice", {"{}", R"({"name":"t"})", R"({"type":null,"name":"t"})"});
  wrong("tool_choice.name", "tool_choice", {R"({"type":"tool"})", R"({"type":"tool","name":5})", R"({"type":"tool","name":"t","name":"t"})"});
  wrong("response_format", "response_format", {R"("json_schema")", "5", "[]"});
  wrong("response_format.type", "response_format", {"{}", R"({"schema":{}})", R"({"type":null,"schema":{}})", R"({"type":"text"})",
                                                    R"({"type":"json_object"})", R"({"type":"Json_schema","schema":{}})"});
  wrong("response_format.schema", "response_format", {R"({"type":"json_schema"})", R"({"type":"json_schema","json_schema":{"schema":{}}})",
                                                      R"({"type":"json_schema","schema":1,"schema":1})",
                                                      R"({"type":"json_schema","schema":[1e999]})"});
  for (const char* field : {"attachments", "tools"}) cases.push_back({field, hi + ",\"" + field + "\":[],\"" + field + "\":[]"});
  for (const char* field : {"tool_choice", "response_format", "temperature", "seed"}) {
    cases.push_back({field, hi + ",\"" + field + "\":null,\"" + field + "\":null"});
  }
  return cases;
}

// Spec 01 §2.3, 02 §2; README 2: the reply carries the id where one could be read; architecture §5: the field is named
TEST(V2Requests, AFieldOfTheWrongShapeIsADecodeFailureThatNamesItAndCarriesTheId) {
  for (const auto& [named, body] : field_cases()) {
    SCOPED_TRACE(body);
    const DecodeFailure failure = failure_of(R"({"id":"r",)" + body + "}");
    EXPECT_EQ(failure.id, "r");
    EXPECT_NE(failure.message.find("`" + named + "`"), std::string::npos) << failure.message;
    EXPECT_EQ(failure_of("{" + body + "}").id, "");
    EXPECT_EQ(failure_of("{" + body + R"(,"id":"last"})").id, "last");
  }
}

// Spec 01 §2.1
TEST(V2Requests, ALineThatIsNotOneJsonObjectIsADecodeFailure) {
  const std::string good = line_of(golden("request_example"));
  for (const std::string& line : std::vector<std::string>{
           "", " ", "\t\r", "{", "[]", "null", "{}", good + good, good + "x", "[" + good + "]", "\xEF\xBB\xBF" + good,
           good.substr(0, good.size() - 1), "{" + block_body(R"({"type":"text","text":"\ud800"})") + "}",
           "{" + block_body("{\"type\":\"text\",\"text\":\"\xFF\"}") + "}"}) {
    EXPECT_FALSE(failure_of(line).message.empty()) << line;
  }
  expect_same(request_of(good), written_requests().at("request_example"));
}

// Spec 01 §2.3: also a field that another shape of block, attachment or choice has is unknown to this one
TEST(V2Requests, UnknownFieldsAreIgnoredAtEveryLevel) {
  for (const char* value : {"null", "1.5", "\"x\"", "[]", R"([{"id":5}])", R"({"type":7,"a":[[]]})"}) {
    const std::string more = "\"later\":" + std::string(value) + ",\"attachment_id\":" + value + ",\"later\":" + value;
    const std::string line = "{" + more + R"(,"messages":[{)" + more + R"(,"role":"user","content":[{)" + more +
                             R"(,"type":"tool_result","tool_call_id":"i","content":[{)" + more + R"(,"type":"text","text":"hi"}]}]}],)" +
                             R"("tools":[{)" + more + R"(,"name":"t","description":"d","input_schema":1}],"attachments":[{)" + more +
                             R"(,"kind":"video","id":"v","bytes":"","width":-1}],"tool_choice":{)" + more +
                             R"(,"type":"tool","name":"t"},"response_format":{)" + more + R"(,"type":"json_schema","schema":true}})";
    GenerateRequest expected = hi();
    expected.messages = {{Role::kUser, {result("i", {text("hi")})}}};
    expected.tools = {{"t", "d", "1"}};
    expected.attachments = {video_of("v", "")};
    expected.tool_choice = ToolChoice{Mode::kNamed, "t"};
    expected.json_schema = "true";
    expect_same(request_of(line), expected);
  }
}

// Spec 02 §2.2, §2.4: `input` and a schema may be any JSON
TEST(V2Requests, InputAndSchemasAreAnyJson) {
  for (const char* json : {"null", "true", "-5", "0.5", "\"\"", "[]", "{}", R"([null,{"a":[]}])"}) {
    const GenerateRequest request = request_of(
        "{" + block_body(R"({"type":"tool_use","tool_call_id":"i","name":"n","input":)" + std::string(json) + "}") +
        R"(,"tools":[{"name":"t","description":"d","input_schema":)" + json +
        R"(}],"response_format":{"type":"json_schema","schema":)" + json + "}}");
    EXPECT_EQ(std::get<ToolUseBlock>(request.messages.at(0).content.at(0).held).input, json);
    EXPECT_EQ(request.tools.at(0).input_schema, json);
    EXPECT_EQ(request.json_schema, json);
  }
}

// Spec 01 §2.3: 127 nested arrays and objects. The frame, `messages`, the message and `content` are four of them, every result two more.
TEST(V2Requests, ResultsWithinResultsAreReadToTheDepthOfAFrame) {
  const auto nested = [](int results, const std::string& innermost) {
    std::string begin, end;
    for (int i = 0; i < results; ++i) {
      begin += R"({"type":"tool_result","tool_call_id":"i","content":[)";
      end += "]}";
    }
    return "{" + block_body(begin + innermost + end) + "}";
  };
  const GenerateRequest request = request_of(nested(61, R"({"type":"document"})"));
  const std::vector<Block>* content = &request.messages.at(0).content;
  for (int i = 0; i < 61; ++i) content = &std::get<ToolResultBlock>(content->at(0).held).content;
  EXPECT_TRUE(std::holds_alternative<UnknownBlock>(content->at(0).held));
  EXPECT_EQ(refusal(request), "messages[0].content[0] uses unknown content-block type");
  expect_same(request_of(line_of(encode(request))), request);
  failure_of(nested(62, R"({"type":"document"})"));
  failure_of(nested(100'000, ""));
}

// Spec 01 §2: the limit is the transport's; a line of exactly this size is a frame
TEST(V2Requests, AFrameOfTheLargestSizeIsRead) {
  const std::string head = "{" + std::string(kHi) + R"(,"attachments":[{"kind":"audio","id":"a","sample_rate":1,"bytes":")", tail = R"("}]})";
  std::string line = head + std::string(kMaxFrameBytes - head.size() - tail.size(), 'A') + tail;
  ASSERT_EQ(line.size(), 67'108'864u);
  EXPECT_EQ(request_of(line).attachments.at(0).base64.size(), line.size() - head.size() - tail.size());
  line.back() = ']';
  failure_of(line);
  expect_same(request_of(encode(hi("small"))), hi("small"));
}

// Validation: spec 02 §3 in its order, then README 3 and 6.

TEST(V2Validation, P17EmptyMessagesAndEmptyContentAreRefused) {
  EXPECT_EQ(refusal_of(R"("messages":[],"attachments":[{"kind":"later"}],"stop":[""])"), "messages must not be empty");
  EXPECT_EQ(refusal_of(R"("messages":[{"role":"user","content":[]}])"), "messages[0].content must not be empty");
  EXPECT_EQ(refusal_of(R"("messages":[{"role":"user","content":[{"type":"text","text":""}]},{"role":"assistant","content":[]}])"),
            "messages[1].content must not be empty");
}

// `X` of spec 02 §3 is quoted and escaped
TEST(V2Validation, P18ABlockWhoseAttachmentIsNotThereIsRefused) {
  for (const std::string type : {"image", "audio", "video"}) {
    EXPECT_EQ(refusal_of(block_body(R"({"type":"text","text":""},{"type":")" + type + R"(","attachment_id":"missing"})")),
              "messages[0].content[1] references unknown attachment_id \"missing\"");
  }
  EXPECT_EQ(refusal_of(block_body(R"({"type":"image","attachment_id":""})")), "messages[0].content[0] references unknown attachment_id \"\"");
  EXPECT_EQ(refusal_of(block_body(R"({"type":"image","attachment_id":"a\"b\\\n"})")),
            R"(messages[0].content[0] references unknown attachment_id "a\"b\\\n")");
}

TEST(V2Validation, P19AnImageWithinAResultIsAcceptedIfItsAttachmentIsThere) {
  const std::string attachment = R"(,"attachments":[{"kind":"image","id":"i","width":1,"height":1,"bytes":"not base64"}])";
  const auto within = [](const std::string& block) {
    const std::string empty = R"({"type":"text","text":""},)";
    return block_body(empty + R"({"type":"tool_result","tool_call_id":"c","content":[)" + empty + empty + block + "]}");
  };
  EXPECT_EQ(refusal_of(within(R"({"type":"image","attachment_id":"i"})") + attachment), "");
  EXPECT_EQ(refusal_of(block_body(R"({"type":"tool_result","tool_call_id":"c","content":[]})")), "");
  // The block's number is the one in its own array, the message's that of the outermost.
  EXPECT_EQ(refusal_of(within(R"({"type":"image","attachment_id":"j"})") + attachment),
            "messages[0].content[2] references unknown attachment_id \"j\"");
  EXPECT_EQ(refusal_of(within(R"({"type":"audio","attachment_id":"i"})") + attachment),
            "messages[0].content[2] block expects audio attachment but \"i\" is a different kind");
  EXPECT_EQ(refusal_of(within(R"({"type":"document"})")), "messages[0].content[2] uses unknown content-block type");
}

TEST(V2Validation, P20AttachmentsHaveIdsOfTheirOwn) {
  const auto attachments = [](const std::string& list) { return std::string(kHi) + ",\"attachments\":[" + list + "]"; };
  const std::string image = R"({"kind":"image","id":"m","width":1,"height":1,"bytes":""})";
  const std::string audio = R"({"kind":"audio","id":"m","sample_rate":1,"bytes":""})";
  EXPECT_EQ(refusal_of(attachments(image + "," + audio)), "duplicate attachment id: m");
  EXPECT_EQ(refusal_of(attachments(image)), "");
  EXPECT_EQ(refusal_of(attachments(R"({"kind":"video","id":"","bytes":""})")), "attachments must have non-empty id");
  EXPECT_EQ(refusal_of(attachments(R"({"kind":"hologram","id":"m"})")), "attachments contain an unknown kind");
  // In order of the attachments, each with all its checks.
  EXPECT_EQ(refusal_of(attachments(image + "," + audio + R"(,{"kind":"hologram"})")), "duplicate attachment id: m");
  EXPECT_EQ(refusal_of(attachments(image + R"(,{"kind":"hologram","id":"m"})")), "attachments contain an unknown kind");
}

TEST(V2Validation, P21ToolsHaveNamesOfTheirOwn) {
  const auto tools = [](const std::string& a, const std::string& b) {
    return std::string(kHi) + R"(,"tools":[{"name":")" + a + R"(","description":"","input_schema":{}},{"name":")" + b +
           R"(","description":"x","input_schema":1}])";
  };
  EXPECT_EQ(refusal_of(tools("f", "f")), "duplicate tool name: f");
  EXPECT_EQ(refusal_of(tools("", "")), "duplicate tool name: ");
  EXPECT_EQ(refusal_of(tools("f", "F")), "");
  EXPECT_EQ(refusal_of(tools("", "f")), "");  // empty names are not checked
}

TEST(V2Validation, P22AnUnknownBlockIsReadAndRefused) {
  const GenerateRequest request = request_of("{" + block_body(R"({"type":"document","url":"https://h/x.pdf"})") + "}");
  EXPECT_EQ(refusal(request), "messages[0].content[0] uses unknown content-block type");
  for (const char* type : {"", "Text", "thinking", "image_url", "TOOL_USE"}) {
    EXPECT_EQ(refusal_of(block_body(R"({"type":"text","text":""},{"type":")" + std::string(type) + "\"}")),
              "messages[0].content[1] uses unknown content-block type");
  }
}

TEST(V2Validation, ABlockOfAnotherKindThanItsAttachmentIsRefused) {
  const std::string attachments = R"(,"attachments":[{"kind":"image","id":"i","width":1,"height":1,"bytes":""},)"
                                  R"({"kind":"audio","id":"a","sample_rate":1,"bytes":""},{"kind":"video","id":"v","bytes":""}])";
  const std::map<std::string, std::string> kIds = {{"image", "i"}, {"audio", "a"}, {"video", "v"}};
  for (const auto& [type, own] : kIds) {
    for (const auto& [other, id] : kIds) {
      EXPECT_EQ(refusal_of(block_body(R"({"type":")" + type + R"(","attachment_id":")" + id + "\"}") + attachments),
                type == other ? "" : "messages[0].content[0] block expects " + type + " attachment but \"" + id + "\" is a different kind");
    }
  }
}

// Spec 02 §3: the rows' order
TEST(V2Validation, TheFirstRowThatFailsIsTheOneThatIsTold) {
  const std::string bad_attachment = R"("attachments":[{"kind":"hologram"}])";
  const std::string bad_tools = R"("tools":[{"name":"f","description":"","input_schema":1},{"name":"f","description":"","input_schema":1}])";
  const std::string bad_blocks = R"("messages":[{"role":"user","content":[{"type":"image","attachment_id":"x"},{"type":"document"}]},)"
                                 R"({"role":"user","content":[]}])";
  const std::string bad_rest = R"("stop":[""],"priority":"later","tool_choice":"later")";
  EXPECT_EQ(refusal_of(R"("messages":[],)" + bad_attachment + "," + bad_tools + "," + bad_rest), "messages must not be empty");
  EXPECT_EQ(refusal_of(bad_blocks + "," + bad_attachment + "," + bad_tools + "," + bad_rest), "attachments contain an unknown kind");
  EXPECT_EQ(refusal_of(bad_blocks + "," + bad_tools + "," + bad_rest), "duplicate tool name: f");
  EXPECT_EQ(refusal_of(bad_blocks + "," + bad_rest), "messages[0].content[0] references unknown attachment_id \"x\"");
  EXPECT_NE(refusal_of(std::string(kHi) + "," + bad_rest).find("stop[0]"), std::string::npos);
  EXPECT_NE(refusal_of(std::string(kHi) + R"(,"priority":"later","tool_choice":"later")").find("priority"), std::string::npos);
  EXPECT_NE(refusal_of(std::string(kHi) + R"(,"tool_choice":"later")").find("tool_choice"), std::string::npos);
}

// Spec 02 §3, "Not checked at request level"
TEST(V2Validation, WhatOnlyABackendCanSayIsNotChecked) {
  for (const std::string& body : {
           std::string(kHi) + R"(,"attachments":[{"kind":"image","id":"i","width":0,"height":4294967295,"bytes":"%%"}])",
           std::string(kHi) + R"(,"attachments":[{"kind":"video","id":"v","bytes":""}])",
           block_body(R"({"type":"tool_result","tool_call_id":"nobody","content":[]})"),
           block_body(R"({"type":"tool_use","tool_call_id":"","name":"undeclared","input":null},)"
                      R"({"type":"tool_use","tool_call_id":"","name":"","input":[]})"),
           std::string(kHi) + R"(,"temperature":-1,"top_p":7,"top_k":4294967295,"max_tokens":0)",
           std::string(kHi) + R"(,"tools":[{"name":"","description":"","input_schema":"nonsense"}])",
           std::string(kHi) + R"(,"response_format":{"type":"json_schema","schema":{"type":"nonsense"}})"}) {
    EXPECT_EQ(refusal_of(body), "") << body;
  }
}

// README 3: at most 16 strings of 1 to 256 bytes; README 6: an unknown value is refused by name
TEST(V2Validation, StopStringsAndPriorityAreBoundedAsOnV1) {
  GenerateRequest request = hi();
  request.stop.assign(16, std::string(256, 'x'));
  EXPECT_EQ(refusal(request), "");
  request.stop.assign(17, "x");
  EXPECT_NE(refusal(request).find("stop"), std::string::npos);
  for (const std::string& stop : {std::string(), std::string(257, 'x')}) {
    request.stop = {"ok", stop};
    EXPECT_NE(refusal(request).find("stop[1]"), std::string::npos);
  }
  EXPECT_EQ(refusal_of(std::string(kHi) + R"(,"priority":"batch")"), "");
  EXPECT_NE(refusal_of(std::string(kHi) + R"(,"priority":"urgent")").find("priority"), std::string::npos);
}

// README 3 and 6: of the right type and unknown is refused, and the connection stays open
TEST(V2Validation, AToolChoiceIsOneOfFourForms) {
  const std::string tools = R"(,"tools":[{"name":"t","description":"","input_schema":{}}])";
  for (const char* choice : {R"("auto")", R"("none")", R"("required")", R"({"type":"tool","name":"t"})", "null"}) {
    EXPECT_EQ(refusal_of(std::string(kHi) + tools + ",\"tool_choice\":" + choice), "") << choice;
  }
  for (const char* choice : {R"("any")", R"("")", R"("Auto")", R"("t")", R"({"type":"function","name":"t"})", R"({"type":"auto"})",
                             R"({"type":"function","name":5})"}) {
    const std::string why = refusal_of(std::string(kHi) + tools + ",\"tool_choice\":" + choice);
    EXPECT_EQ(why, R"(tool_choice must be one of: "auto", "none", "required", {"type":"tool","name":NAME})") << choice;
  }
}

TEST(V2Validation, AToolChoiceThatDemandsACallNeedsTheTool) {
  const std::string tools = R"(,"tools":[{"name":"t","description":"","input_schema":{}}])";
  for (const char* choice : {R"("required")", R"({"type":"tool","name":"t"})"}) {
    for (const char* empty : {"", ",\"tools\":[]"}) {
      EXPECT_EQ(refusal_of(std::string(kHi) + empty + ",\"tool_choice\":" + choice), "tool_choice requires a non-empty tools array");
    }
  }
  for (const char* choice : {R"("auto")", R"("none")"}) EXPECT_EQ(refusal_of(std::string(kHi) + ",\"tool_choice\":" + choice), "");
  for (const std::string name : {"u", "", "T", "t "}) {
    EXPECT_EQ(refusal_of(std::string(kHi) + tools + R"(,"tool_choice":{"type":"tool","name":")" + name + "\"}"),
              "tool_choice names \"" + name + "\", which tools does not declare");
  }
}

// An answer cannot conform to a schema and be a call: whoever gives both has to say that no call may come.
TEST(V2Validation, AResponseFormatAndCallsExcludeEachOther) {
  const std::string tools = R"(,"tools":[{"name":"t","description":"","input_schema":{}}])";
  const std::string format = R"(,"response_format":{"type":"json_schema","schema":{}})";
  for (const char* choice : {R"(,"tool_choice":"auto")", R"(,"tool_choice":"required")", R"(,"tool_choice":{"type":"tool","name":"t"})", ""}) {
    const std::string why = refusal_of(std::string(kHi) + tools + format + choice);
    EXPECT_NE(why.find("response_format"), std::string::npos) << choice;
    EXPECT_NE(why.find("tool_choice"), std::string::npos) << choice;
  }
  EXPECT_NE(refusal_of(std::string(kHi) + format + R"(,"tool_choice":"auto")"), "");
  EXPECT_EQ(refusal_of(std::string(kHi) + format), "");
  EXPECT_EQ(refusal_of(std::string(kHi) + format + R"(,"tools":[])"), "");
  EXPECT_EQ(refusal_of(std::string(kHi) + format + R"(,"tool_choice":"none")"), "");
  EXPECT_EQ(refusal_of(std::string(kHi) + tools + format + R"(,"tool_choice":"none")"), "");
}

// A caller's megabytes do not come back in a message, which stays text
TEST(V2Validation, LongIdsAreShortenedInMessages) {
  std::string id;
  for (int i = 0; i < 100'000; ++i) id += "é";
  GenerateRequest request = hi();
  request.messages[0].content = {image(id)};
  EXPECT_LT(refusal(request).size(), 1'000u);
  EXPECT_TRUE(is_valid_utf8(refusal(request)));
  request.attachments = {video_of(id, ""), video_of(id, "")};
  EXPECT_LT(refusal(request).size(), 1'000u);
  request.attachments.clear();
  request.tools = {{id, "", "1"}, {id, "", "1"}};
  EXPECT_LT(refusal(request).size(), 1'000u);
}

// Writing: spec 01 §2.2.

TEST(V2Writing, FramesAreAppendedToWhatIsThereAndAreOneLineEach) {
  std::string all;
  for (int byte = 0; byte < 128; ++byte) all += static_cast<char>(byte);
  std::string out = "before\n";
  ASSERT_TRUE(append_piece(out, all, {Piece::Kind::kText, all, {}}));
  ASSERT_TRUE(append_piece(out, all, {Piece::Kind::kToolCall, {}, {all, all, "{}"}}));
  ASSERT_TRUE(append_done(out, all, {StopReason::kEnd, {}}, all, all));
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 4);
  EXPECT_TRUE(out.starts_with("before\n"));
}

TEST(V2Writing, AFrameOf64MebibytesIsRefusedAndLeavesTheBufferAsItWas) {
  std::string out = "before";
  const std::string content(64u << 20, 'a');
  EXPECT_EQ(append_piece(out, "a", {Piece::Kind::kThinking, content, {}}).error().code, Code::kFrameTooLarge);
  EXPECT_EQ(append_piece(out, "a", {Piece::Kind::kToolCall, {}, {"i", "n", "\"" + content + "\""}}).error().code, Code::kFrameTooLarge);
  EXPECT_EQ(append_done(out, content, Completion{}, "mock", "mock").error().code, Code::kFrameTooLarge);
  EXPECT_EQ(out, "before");
}

TEST(V2Writing, EveryStopReasonHasItsName) {
  const std::map<StopReason, std::string_view> kNames = {
      {StopReason::kEnd, "end_turn"},           {StopReason::kLength, "max_tokens"},   {StopReason::kToolUse, "tool_use"},
      {StopReason::kStopSequence, "stop_sequence"}, {StopReason::kCancelled, "cancelled"}, {StopReason::kError, "error"}};
  for (const auto& [reason, name] : kNames) EXPECT_EQ(stop_reason_name(reason), name);
}

TEST(V2Writing, P24TheCodesThatOnlyV2HasAreReadAsTheyAreWritten) {
  for (const auto& [code, name] : {std::pair(Code::kQueueFull, "queue_full"), std::pair(Code::kAttachmentUnsupported, "attachment_unsupported"),
                                   std::pair(Code::kToolCallMalformed, "tool_call_malformed")}) {
    EXPECT_EQ(error_code_name(code), name);
    EXPECT_EQ(error_code_from_name(name), code);
  }
}

// Responses.

TEST(V2Responses, WhatIsNoKnownFrameIsAnError) {
  const std::string usage = R"("usage":{"input_tokens":1,"output_tokens":1})", rest = R"("stop_reason":"end_turn","backend":"mock")";
  const auto with = [&](const std::string& body) { return R"({"type":"done","id":"a",)" + body + "}"; };
  const auto block = [&](const std::string& body) { return R"({"type":"frame","id":"a","block":)" + body + "}"; };
  ASSERT_TRUE(decode_response(with(usage + "," + rest)));
  ASSERT_TRUE(decode_response(block(R"({"type":"text","delta":""})")));
  for (const std::string& line : std::vector<std::string>{
           "", "{}", "[]", "nonsense", R"({"type":"later","id":"a"})", R"({"type":"token","id":"a","content":"x"})",
           R"({"type":"frame","block":{"type":"text","delta":""}})", R"({"type":"frame","id":"a"})", block("null"), block("\"x\""),
           block("{}"), block(R"({"type":"text"})"), block(R"({"type":"text","delta":null})"), block(R"({"type":"text","text":"x"})"),
           block(R"({"type":"Text","delta":""})"), block(R"({"type":"later","delta":""})"),
           block(R"({"type":"thinking","delta":1})"), block(R"({"type":"tool_use","tool_call_id":"i","name":"n"})"),
           block(R"({"type":"tool_use","tool_call_id":"i","input":{}})"), block(R"({"type":"tool_use","name":"n","input":{}})"),
           block(R"({"type":"tool_use","tool_call_id":"i","name":"n","input":1e400})"),
           R"({"type":"error","id":"a","message":"m"})", R"({"type":"error","id":"a","code":"later","message":"m"})",
           R"({"type":"status","id":"a"})", with(rest), with(usage + R"(,"backend":"mock")"), with(usage + R"(,"stop_reason":"end_turn")"),
           with(usage + R"(,"stop_reason":"end","backend":"mock")"), with(usage + "," + rest + R"(,"tool_choice_unsatisfied":1)"),
           with(R"("usage":{"prompt_tokens":1,"completion_tokens":1},)" + rest), with(R"("usage":{"input_tokens":1},)" + rest),
           with(R"("usage":{"input_tokens":1,"output_tokens":-1},)" + rest), with("\"usage\":[]," + rest)}) {
    EXPECT_FALSE(decode_response(line)) << line;
  }
}

// Properties, with fixed seeds.

std::string random_json(std::mt19937& random) {
  static constexpr std::array kTexts = {"null", "true", "-5", "0.25", "\"é\"", "[]", "{}", R"({"a":[1,{"b":null}],"c":"x"})"};
  return kTexts[random() % kTexts.size()];
}

std::vector<Block> random_blocks(std::mt19937& random, int depth) {
  std::vector<Block> blocks;
  for (size_t left = random() % 4; left > 0; --left) {
    switch (random() % (depth > 0 ? 5 : 4)) {
      case 0: blocks.push_back(text(random_text(random))); break;
      case 1: blocks.push_back({MediaBlock{static_cast<MediaKind>(random() % 3), random_text(random)}}); break;
      case 2: blocks.push_back(call(random_text(random), random_text(random), random_json(random))); break;
      case 3: blocks.push_back({UnknownBlock{}}); break;
      default: blocks.push_back(result(random_text(random), random_blocks(random, depth - 1)));
    }
  }
  return blocks;
}

GenerateRequest random_request(std::mt19937& random) {
  GenerateRequest request = hi(random_text(random));
  request.messages.clear();
  for (size_t left = random() % 4; left > 0; --left) request.messages.push_back({static_cast<Role>(random() % 3), random_blocks(random, 4)});
  for (size_t left = random() % 3; left > 0; --left) {
    switch (random() % 3) {
      case 0: request.attachments.push_back(image_of(random_text(random), random(), random(), random_text(random))); break;
      case 1: request.attachments.push_back(audio_of(random_text(random), random(), random_text(random))); break;
      default: request.attachments.push_back(video_of(random_text(random), random_text(random)));
    }
  }
  for (size_t left = random() % 3; left > 0; --left) request.tools.push_back({random_text(random), random_text(random), random_json(random)});
  if (random() % 2 == 0) request.sampling.temperature = static_cast<double>(random()) / 3;
  if (random() % 2 == 0) request.sampling.top_p = static_cast<double>(random()) / 7;
  if (random() % 2 == 0) request.sampling.top_k = random();
  if (random() % 2 == 0) request.sampling.seed = random();
  if (random() % 2 == 0) request.max_tokens = random();
  request.stream = random() % 2 == 0;
  for (size_t left = random() % 3; left > 0; --left) request.stop.push_back(random_text(random));
  request.priority = random() % 2 == 0 ? Priority::kInteractive : Priority::kBatch;
  request.local_only = random() % 2 == 0;
  request.progress = random() % 2 == 0;
  if (random() % 2 == 0) {
    request.tool_choice = ToolChoice{static_cast<Mode>(random() % 5), {}};
    if (request.tool_choice->mode == Mode::kNamed) request.tool_choice->name = random_text(random);
  }
  if (random() % 2 == 0) request.json_schema = random_json(random);
  return request;
}

TEST(V2Properties, P16ARequestIsReadBackAsItWasWritten) {
  std::mt19937 random(1);
  for (int i = 0; i < 3'000; ++i) {
    const GenerateRequest request = random_request(random);
    const std::string bytes = encode(request);
    expect_same(request_of(line_of(bytes)), request);
    if (HasFailure()) FAIL() << bytes;
  }
}

constexpr std::array<std::string_view, 32> kPieces = {
    "null", "1e400", "-0.0", "64.0", "4294967296", "0", "true", "\"", "\\", "{", "}", "[", "]", ",", ":", "\xFF", "\xE2\x82", "é",
    "\\ud800", "\\u0000", "\"id\":\"x\",", "\"messages\":[],", "\"stop\":[\"\"],", "[[[[[[[[", "\"role\":\"x\",", "\"type\":\"done\",",
    "\"type\":\"tool_result\",", "{\"type\":\"text\",\"text\":\"\"},", "\"kind\":\"audio\",", "\"tool_choice\":\"none\",", "\"a\":1,\"a\":2,",
    " "};

TEST(V2Properties, ADamagedRequestIsRefusedOrIsARequestThatCanBeWrittenAgain) {
  std::mt19937 random(3);
  std::vector<std::string> frames = {line_of(golden(kDocumentedExample))};
  for (const auto& [name, request] : written_requests()) frames.push_back(line_of(golden(name)));
  for (const auto& [name, same] : kReadRequests) frames.push_back(line_of(golden(name)));
  int requests = 0, failures = 0;
  for (int i = 0; i < 50'000 && !HasFailure(); ++i) {
    const std::string line = mutated(frames[i % frames.size()], random, kPieces);
    SCOPED_TRACE(line);
    auto decoded = decode_request(line);
    if (const auto* failure = std::get_if<DecodeFailure>(&decoded)) {
      ++failures;
      EXPECT_FALSE(failure->message.empty());
      std::string reply;
      append_error(reply, failure->id, Code::kInvalidRequest, "decode: " + failure->message);
      EXPECT_TRUE(decode_response(line_of(reply))) << reply;
      continue;
    }
    ++requests;
    const auto& request = std::get<GenerateRequest>(decoded);
    EXPECT_TRUE(is_valid_utf8(refusal(request)));
    const std::string bytes = encode(request);
    expect_same(request_of(line_of(bytes)), request);
  }
  EXPECT_GT(requests, 2'000);
  EXPECT_GT(failures, 5'000);
}

TEST(V2Properties, ADamagedResponseIsAnErrorOrAFrameThatCanBeWrittenAgain) {
  std::mt19937 random(4);
  std::vector<std::string> frames;
  for (const auto& [name, response] : written_responses()) frames.push_back(line_of(golden(name)));
  for (const auto& [name, response] : read_responses()) frames.push_back(line_of(golden(name)));
  int read = 0, refused = 0;
  for (int i = 0; i < 50'000 && !HasFailure(); ++i) {
    const std::string line = mutated(frames[i % frames.size()], random, kPieces);
    SCOPED_TRACE(line);
    const auto response = decode_response(line);
    if (!response) {
      ++refused;
      EXPECT_FALSE(response.error().message.empty());
      EXPECT_TRUE(is_valid_utf8(response.error().message));
      continue;
    }
    ++read;
    const std::string bytes = encode(*response);
    const auto again = decode_response(line_of(bytes));
    ASSERT_TRUE(again) << bytes;
    EXPECT_EQ(encode(*again), bytes);
  }
  EXPECT_GT(read, 2'000);
  EXPECT_GT(refused, 5'000);
}

}  // namespace
}  // namespace inferd::wire::v2
