// The v1 codec against spec 01: golden files (tests/golden/v1) are read and written, then every rule of decoding and validation.
// What spec 01 §2.1 says about lines, ends and limits of the transport is tested over real sockets in tests/e2e/test_v1_framing.py.
#include "wire/v1_codec.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "base/utf8.h"
#include "request/limits.h"
#include "wire/error_code.h"
#include "wire/golden_frames.h"

namespace inferd::wire::v1 {
namespace {

const GoldenFolder kGolden("v1");
constexpr std::string_view kHi = R"("messages":[{"role":"user","content":"hi"}])";

std::string golden(const std::string& name) { return kGolden.read(name); }

std::string encode(const GenerateRequest& request) {
  std::string out;
  append_request(out, request);
  return out + "\n";
}

std::string encode(const Response& response) {
  std::string out;
  if (const auto* token = std::get_if<Token>(&response)) {
    EXPECT_TRUE(append_token(out, token->id, token->content));
  } else if (const auto* done = std::get_if<Done>(&response)) {
    EXPECT_TRUE(append_done(out, done->id, done->content, done->completion, done->backend, done->route));
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

// The one text block that a message of v1 has.
std::string text_of(const Message& message) {
  const auto* text = message.content.size() == 1 ? std::get_if<TextBlock>(&message.content[0].held) : nullptr;
  if (text != nullptr) return text->text;
  ADD_FAILURE() << "a message of v1 with " << message.content.size() << " blocks";
  return "";
}

void expect_same(const GenerateRequest& read, const GenerateRequest& expected) {
  EXPECT_EQ(read.surface, Surface::kV1);
  EXPECT_EQ(read.id, expected.id);
  ASSERT_EQ(read.messages.size(), expected.messages.size());
  for (size_t i = 0; i < read.messages.size(); ++i) {
    EXPECT_EQ(read.messages[i].role, expected.messages[i].role) << i;
    EXPECT_EQ(text_of(read.messages[i]), text_of(expected.messages[i])) << i;
  }
  EXPECT_EQ(read.sampling.temperature, expected.sampling.temperature);
  EXPECT_EQ(read.sampling.top_p, expected.sampling.top_p);
  EXPECT_EQ(read.sampling.top_k, expected.sampling.top_k);
  EXPECT_EQ(read.sampling.seed, expected.sampling.seed);
  EXPECT_EQ(read.max_tokens, expected.max_tokens);
  EXPECT_EQ(read.stream, expected.stream);
  EXPECT_EQ(read.image_token_budget, expected.image_token_budget);
  EXPECT_EQ(read.grammar, expected.grammar);
  EXPECT_EQ(read.stop, expected.stop);
  EXPECT_EQ(read.priority, expected.priority);
  EXPECT_EQ(read.local_only, expected.local_only);
  EXPECT_EQ(read.progress, expected.progress);
}

// What a frame means that gives nothing; spelled out here, whatever the constants of the request say (P2, spec 01 §3).
GenerateRequest standard() {
  GenerateRequest request;
  request.sampling = {.temperature = 1.0, .top_p = 0.95, .top_k = 64, .seed = {}};
  request.max_tokens = 1000;
  return request;
}

GenerateRequest hi(std::string id = "") {
  GenerateRequest request = standard();
  request.id = std::move(id);
  request.messages = {text_message(Role::kUser, "hi")};
  return request;
}

// The requests of the golden files that are read and written.
std::map<std::string, GenerateRequest> written_requests() {
  std::map<std::string, GenerateRequest> files;
  files["request_only_required"] = hi();

  files["request_example_of_the_spec"] = hi("a1");
  files["request_example_of_the_spec"].max_tokens = 32;

  auto& published = files["request_all_published_fields"] = hi("req-7");
  published.messages = {text_message(Role::kSystem, "be brief"), text_message(Role::kUser, "hi"),
                        text_message(Role::kAssistant, "hello"), text_message(Role::kUser, "")};
  published.sampling = {.temperature = 0.7, .top_p = 0.9, .top_k = 40, .seed = {}};
  published.max_tokens = 256;
  published.stream = false;
  published.image_token_budget = 280;
  published.grammar = "root ::= \"yes\" | \"no\"\n";

  auto& all = files["request_all_fields"] = hi("req-8");
  all.sampling = {.temperature = 0.25, .top_p = 0.5, .top_k = 1, .seed = 42};
  all.max_tokens = 2;
  all.stream = false;
  all.image_token_budget = 1120;
  all.grammar = "root ::= \"a\"";
  all.stop = {"\n\n", "END"};
  all.priority = Priority::kBatch;
  all.local_only = true;
  all.progress = true;

  auto& additive = files["request_additive_fields"] = hi("req-9");
  additive.sampling.seed = 0;
  additive.stop = {"."};
  additive.priority = Priority::kBatch;
  additive.local_only = true;
  additive.progress = true;

  files["request_no_messages"] = standard();
  files["request_no_messages"].id = "req-10";

  auto& zeros = files["request_zeros"] = hi("req-11");
  zeros.messages = {text_message(Role::kUser, "")};
  zeros.sampling = {.temperature = 0, .top_p = 0, .top_k = 0, .seed = 0};
  zeros.max_tokens = 0;
  zeros.image_token_budget = 0;

  auto& limits = files["request_u32_limits"] = hi("req-12");
  limits.sampling = {.temperature = -1.5, .top_p = 1e30, .top_k = 4294967295, .seed = 4294967295};
  limits.max_tokens = 4294967295;
  limits.image_token_budget = 4294967295;

  auto& escaped = files["request_escaped_text"] = hi(kEscapedId);
  escaped.messages = {text_message(Role::kUser, kEscapedText)};
  escaped.grammar = "\\n";
  return files;
}

// Files that say the same as another one in a form that we never write.
const std::map<std::string, std::string> kReadRequests = {
    {"request_defaults_spelled_out", "request_only_required"},
    {"request_nulls", "request_only_required"},
    {"request_unknown_fields", "request_example_of_the_spec"},
    {"request_other_key_order", "request_example_of_the_spec"},
    {"request_white_space", "request_example_of_the_spec"},
    {"request_input_escapes", "request_example_of_the_spec"},
};

Done done(std::string id, std::string content, StopReason reason, Usage usage, std::string backend, std::string route) {
  return {std::move(id), std::move(content), {reason, usage}, std::move(backend), std::move(route)};
}

std::map<std::string, Response> written_responses() {
  constexpr uint32_t kMax = 4294967295;
  const auto error = [](std::string id, Code code, std::string message) {
    return Failure{std::move(id), {code, std::move(message)}};
  };
  return {
      {"token", Token{"a1", "Hel"}},
      {"token_empty", Token{"", ""}},
      {"token_escaped_text", Token{kEscapedId, kEscapedText}},
      {"done_end", done("a1", "Hello", StopReason::kEnd, {12, 2, 8}, "llamacpp", "local")},
      {"done_length", done("a2", "Hello", StopReason::kLength, {kMax, kMax, kMax}, "mock", "mock")},
      {"done_cancelled", done("a3", "Hel", StopReason::kCancelled, {12, 1, 0}, "llamacpp", "llamacpp")},
      {"done_error", done("", "", StopReason::kError, {}, "openai-compat", "far \"away\"")},
      {"error_queue_full", error("a1", Code::kQueueFull, "queue full")},
      {"error_backend_unavailable",
       error("a1", Code::kBackendUnavailable, "backend ended stream without terminal frame")},
      {"error_invalid_request", error("a1", Code::kInvalidRequest, "invalid request: messages must not be empty")},
      {"error_frame_too_large", error("", Code::kFrameTooLarge, "frame exceeds 67108864 byte cap")},
      {"error_internal", error("a1", Code::kInternal, "\"quoted\"\n")},
      {"status", StatusFrame{"a1", "queued"}},
      {"status_with_position", StatusFrame{"a1", "queued", 3}},
      {"status_prefill", StatusFrame{.id = "a1", .status = "prefill", .prompt_tokens_done = 512, .prompt_tokens = 4000}},
  };
}

std::map<std::string, Response> read_responses() {
  return {
      {"done_of_0_2_1", done("a1", "Hello", StopReason::kEnd, {12, 2, 0}, "llamacpp", "")},
      {"done_other_key_order_and_unknown_fields", written_responses().at("done_end")},
  };
}

// Golden files.

TEST(V1Golden, EveryFileIsOneLineAndIsTested) {
  std::set<std::string> tested;
  for (const auto& [name, request] : written_requests()) tested.insert(name);
  for (const auto& [name, same] : kReadRequests) tested.insert(name);
  for (const auto& [name, response] : written_responses()) tested.insert(name);
  for (const auto& [name, response] : read_responses()) tested.insert(name);
  kGolden.expect_one_line_each_and(tested);
}

// P1, P2, P5, spec 01 §3 (client-side serialisation), README 3
TEST(V1Golden, RequestsAreReadIntoTheirFields) {
  for (const auto& [name, request] : written_requests()) {
    SCOPED_TRACE(name);
    expect_same(request_of(line_of(golden(name))), request);
  }
}

TEST(V1Golden, RequestsAreWrittenByteForByte) {
  for (const auto& [name, request] : written_requests()) EXPECT_EQ(encode(request), golden(name)) << name;
}

// The server takes its defaults for what is absent, so that is not written either
TEST(V1Golden, ARequestWithoutSamplingIsWrittenAsOneWithTheDefaults) {
  GenerateRequest request;
  request.messages = {text_message(Role::kUser, "hi")};
  EXPECT_EQ(encode(request), golden("request_only_required"));
}

// P2, P6, spec 01 §2.1 (white space, CR), §2.3 (null scalars, unknown fields), 09 §4 (key order is irrelevant)
TEST(V1Golden, OtherFormsOfARequestMeanTheSame) {
  const auto requests = written_requests();
  for (const auto& [name, same] : kReadRequests) {
    SCOPED_TRACE(name);
    expect_same(request_of(line_of(golden(name))), requests.at(same));
  }
}

// P7, P8, spec 01 §6
TEST(V1Golden, ResponsesAreWrittenByteForByte) {
  for (const auto& [name, response] : written_responses()) EXPECT_EQ(encode(response), golden(name)) << name;
}

// P8, 09 §4: also what 0.2.1 sends, and fields that we do not know
TEST(V1Golden, ResponsesAreReadIntoTheirFields) {
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

// P7 literally
TEST(V1Golden, ADoneFrameHasTheTextsThatPublishedTestsLookFor) {
  for (const char* text : {R"("type":"done")", R"("stop_reason":"end")", R"("backend":"llamacpp")", R"("prompt_tokens":12)"}) {
    EXPECT_NE(golden("done_end").find(text), std::string::npos) << text;
  }
  EXPECT_NE(golden("error_queue_full").find(R"("code":"queue_full")"), std::string::npos);  // P8
}

// P9
TEST(V1Responses, DoneAndErrorEndARequestTokenAndStatusDoNot) {
  for (const auto& [name, response] : written_responses()) {
    EXPECT_EQ(is_terminal(response), name.starts_with("done") || name.starts_with("error")) << name;
  }
}

// Requests: defaults and strictness.

// P2, spec 01 §3; spelled out here, whatever the struct's initialisers say
TEST(V1Requests, WhatIsNotGivenHasTheDefaultsOfTheSpec) {
  const GenerateRequest request = request_of(golden("request_only_required"));
  EXPECT_EQ(request.id, "");
  EXPECT_EQ(request.sampling.temperature, 1.0);
  EXPECT_EQ(request.sampling.top_p, 0.95);
  EXPECT_EQ(request.sampling.top_k, 64u);
  EXPECT_EQ(request.sampling.seed, std::nullopt);
  EXPECT_EQ(request.max_tokens, 1000u);
  EXPECT_TRUE(request.stream);
  EXPECT_EQ(request.image_token_budget, std::nullopt);
  EXPECT_EQ(request.grammar, "");
  EXPECT_TRUE(request.stop.empty());
  EXPECT_EQ(request.priority, Priority::kInteractive);
  EXPECT_FALSE(request.local_only);
}

// P15 and the JSON rows of spec 01 §2.1
TEST(V1Requests, ALineThatIsNotOneJsonObjectIsADecodeFailure) {
  const std::string good = line_of(golden("request_example_of_the_spec"));
  for (const std::string& line : std::vector<std::string>{

           "", " ", " \t\r", "{ this is not json }", "GET / HTTP/1.1\r", "{", good.substr(0, good.size() - 1),
           good + good, good + " " + good, good + "x", good + ",", "\xEF\xBB\xBF" + good, std::string(1, '\0') + good,
           good + '\0', "[" + good + "]", "[]", "42", "\"hi\"", "null", "true", "{}", R"({"messages":[],})",
           "/**/" + good, good + "//", R"({'messages':[]})", R"({messages:[]})",
           R"({"messages":[],"temperature":NaN})", R"({"messages":[],"temperature":Infinity})",
           R"({"messages":[],"temperature":.5})", R"({"messages":[],"temperature":1.})",
           R"({"messages":[],"temperature":+1})", R"({"messages":[],"top_k":01})", R"({"messages":[],"top_k":0x1})",
           R"({"messages":[],"stream":True})", R"(["a1",[["user","hi"]]])" /* §8.6, which we do not take over */}) {
    SCOPED_TRACE(line);
    EXPECT_FALSE(failure_of(line).message.empty());
  }
}

// Spec 01 §2.1: broken UTF-8, lone surrogates, raw control characters
TEST(V1Requests, AStringThatIsNoUnicodeTextIsADecodeFailure) {
  const std::string nul(1, '\0');
  for (const std::string& text : std::vector<std::string>{
           "\x80", "\xE2\x82", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "\xF0\x9D\x84", R"(\ud800)",
           R"(\udc00)", R"(\ud83dx)", R"(\ud83d\n)", R"(\ud83d\ud83d)", R"(\udc00\ud83d)", R"(\q)", R"(\u12)",
           R"(\u12g4)", R"(\U0041)", R"(\')", R"(\x41)", "\x01", "\x1F", "\t", "\n", "\r", nul}) {
    SCOPED_TRACE(text);
    failure_of(R"({"messages":[{"role":"user","content":")" + text + R"("}]})");
    failure_of(R"({"id":")" + text + "\"," + std::string(kHi) + "}");
    failure_of("{\"unknown\":\"" + text + "\"," + std::string(kHi) + "}");
    failure_of("{\"" + text + "\":1," + std::string(kHi) + "}");
  }
}

TEST(V1Requests, EveryEscapeOfJsonIsRead) {
  const auto request = request_of(R"({"messages":[{"role":"user","content":"\"\\\/\b\f\n\r\t\u0000\u00e9\u2603\ud834\udd1E"}]})");
  EXPECT_EQ(text_of(request.messages[0]), "\"\\/\b\f\n\r\t" + std::string(1, '\0') + "é☃𝄞");
}

struct FieldCase {
  std::string_view named;  // the path that the message has to name (architecture §5)
  std::string body;        // after {"id":"r",
};

std::vector<FieldCase> field_cases() {
  const std::string hi(kHi);
  std::vector<FieldCase> cases = {
      {"messages", R"("x":1)"},
      {"messages", R"("Messages":[])"},
      {"messages", hi + "," + hi},
      {"messages", R"("messages":null)"},
      {"messages", R"("messages":"hi")"},
      {"messages", R"("messages":{})"},
      {"messages[0]", R"("messages":[1])"},
      {"messages[0]", R"("messages":[["user","hi"]])"},
      {"messages[1]", R"("messages":[{"role":"user","content":"hi"},null])"},
      {"messages[0].role", R"("messages":[{"content":"hi"}])"},
      {"messages[0].role", R"("messages":[{"role":null,"content":"hi"}])"},
      {"messages[0].role", R"("messages":[{"role":{"user":null},"content":"hi"}])"},
      {"messages[0].role", R"("messages":[{"role":"user","role":"user","content":"hi"}])"},
      {"messages[0].content", R"("messages":[{"role":"user"}])"},
      {"messages[0].content", R"("messages":[{"role":"user","content":null}])"},
      {"messages[0].content", R"("messages":[{"role":"user","content":7}])"},
      {"messages[0].content", R"("messages":[{"role":"user","content":["hi"]}])"},
      {"messages[0].content", R"("messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}])"},
      {"messages[0].content", R"("messages":[{"role":"user","content":"a","content":"b"}])"},
      {"messages[2].content", R"("messages":[{"role":"user","content":""},{"role":"user","content":""},{"role":"user"}])"},
      {"stop[1]", hi + R"(,"stop":["a",1])"},
      {"stop[0]", hi + R"(,"stop":[null])"},
  };
  // Enum values are case-sensitive and exact; roles that v1 does not have.
  for (const char* role : {"User", "USER", " user", "user ", "", "tool", "developer", "model"}) {
    cases.push_back({"messages[0].role", R"("messages":[{"role":")" + std::string(role) + R"(","content":"hi"}])"});
  }
  const auto wrong = [&](std::string_view field, std::initializer_list<const char*> values) {
    for (const char* value : values) cases.push_back({field, hi + ",\"" + std::string(field) + "\":" + value});
  };
  wrong("temperature", {R"("1")", "true", "[]", "{}"});
  wrong("top_p", {R"("0.95")", "false", "[1]"});
  wrong("top_k", {"64.0", "6.4e1", "1e2", "-1", "4294967296", "18446744073709551616", R"("64")", "true", "[]"});
  wrong("max_tokens", {"1.5", "-1", "4294967296", "99999999999999999999999", R"("9")", "{}"});
  wrong("image_token_budget", {"70.0", "-70", "4294967296", R"("70")"});
  wrong("seed", {"1.0", "-1", "4294967296", R"("1")"});
  wrong("stream", {R"("true")", "1", "0", "[]"});
  wrong("local_only", {R"("false")", "0"});
  wrong("grammar", {"null", "5", "[]", "{}"});
  wrong("stop", {R"("x")", "5", R"({"a":"b"})"});
  wrong("priority", {"1", "true", R"(["batch"])"});
  for (const char* field : {"temperature", "top_p", "top_k", "max_tokens", "seed", "image_token_budget"}) {
    cases.push_back({field, hi + ",\"" + field + "\":1,\"" + field + "\":1"});
    cases.push_back({field, hi + ",\"" + field + "\":null,\"" + field + "\":null"});
  }
  for (const char* field : {"stream", "local_only"}) cases.push_back({field, hi + ",\"" + field + "\":true,\"" + field + "\":true"});
  for (const char* field : {"grammar", "priority"}) cases.push_back({field, hi + ",\"" + field + "\":\"\",\"" + field + "\":\"\""});
  cases.push_back({"stop", hi + R"(,"stop":[],"stop":[])"});
  cases.push_back({"grammar", hi + R"(,"grammar":"","gr\u0061mmar":"")"});  // the same name, spelled in two ways
  return cases;
}

// Spec 01 §2.3, §3 and §4 row 1; README 2: the reply carries the id where one could be read; architecture §5: the field is named
TEST(V1Requests, AFieldOfTheWrongShapeIsADecodeFailureThatNamesItAndCarriesTheId) {
  for (const auto& [named, body] : field_cases()) {
    SCOPED_TRACE(body);
    const DecodeFailure failure = failure_of(R"({"id":"r",)" + body + "}");
    EXPECT_EQ(failure.id, "r");
    EXPECT_NE(failure.message.find("`" + std::string(named) + "`"), std::string::npos) << failure.message;
    EXPECT_EQ(failure_of("{" + body + "}").id, "");
    EXPECT_EQ(failure_of("{" + body + R"(,"id":"last"})").id, "last");
  }
}

// Spec 01 §2.3 (1e400); README 2: the line is one well-formed JSON object, so its id can be read; README 7: an error by name
TEST(V1Requests, ANumberBeyondADoubleIsADecodeFailureThatNamesItsFieldAndCarriesTheId) {
  for (const char* number : {"1e400", "-1e400", "1e999", "17976931348623159e293"}) {
    SCOPED_TRACE(number);
    for (const std::string field : {"temperature", "top_p", "top_k"}) {
      const DecodeFailure failure = failure_of(R"({"id":"r",)" + std::string(kHi) + ",\"" + field + "\":" + number + "}");
      EXPECT_EQ(failure.id, "r");
      EXPECT_NE(failure.message.find("`" + field + "`"), std::string::npos) << failure.message;
    }
  }
  failure_of("{" + std::string(kHi) + R"(,"temperature":1e99999999999999999999})");
}

// Spec 01 §2.3: an id that cannot be read leaves the reply's id empty
TEST(V1Requests, AnIdThatIsNoStringIsADecodeFailureWithoutId) {
  for (const char* id : {"null", "5", "true", "[]", R"({"a":"b"})"}) {
    const DecodeFailure failure = failure_of("{\"id\":" + std::string(id) + "," + std::string(kHi) + "}");
    EXPECT_EQ(failure.id, "") << id;
    EXPECT_NE(failure.message.find("`id`"), std::string::npos) << failure.message;
  }
  EXPECT_NE(failure_of(R"({"id":"a","id":"a",)" + std::string(kHi) + "}").message.find("`id`"), std::string::npos);
}

// Spec 01 §3: no uniqueness, length or charset check
TEST(V1Requests, AnyStringIsAnId) {
  for (const std::string& id : {std::string(" "), std::string("a\0b", 3), std::string(100'000, 'x'), kEscapedText}) {
    GenerateRequest request = hi(id);
    EXPECT_EQ(request_of(encode(request)).id, id);
  }
}

// Spec 01 §2.3: "Float fields accept JSON integers and floats", u32 "0…4294967295 only"
TEST(V1Requests, NumbersAreReadWithTheirValue) {
  const std::vector<std::pair<const char*, double>> floats = {
      {"0", 0}, {"1", 1}, {"-1", -1}, {"0.0", 0}, {"2.5", 2.5}, {"1E2", 100}, {"1e-2", 0.01}, {"1.5e+1", 15},
      {"1e308", 1e308}, {"-1e308", -1e308}, {"5e-324", 5e-324}, {"0.1", 0.1}, {"4294967296", 4294967296.0},
      {"9223372036854775808", 9223372036854775808.0}, {"18446744073709551616", 18446744073709551616.0},
      {"1.7976931348623157e308", 1.7976931348623157e308}};
  for (const auto& [text, value] : floats) {
    const std::string line = "{" + std::string(kHi) + ",\"temperature\":" + text + ",\"top_p\":" + text + "}";
    EXPECT_EQ(request_of(line).sampling.temperature, value) << text;
    EXPECT_EQ(request_of(line).sampling.top_p, value) << text;
  }
  for (const uint32_t value : {0u, 1u, 70u, 2147483648u, 4294967295u}) {
    const std::string text = std::to_string(value);
    const auto request = request_of("{" + std::string(kHi) + ",\"top_k\":" + text + ",\"max_tokens\":" + text +
                                    ",\"image_token_budget\":" + text + ",\"seed\":" + text + "}");
    EXPECT_EQ(request.sampling.top_k, value);
    EXPECT_EQ(request.max_tokens, value);
    EXPECT_EQ(request.image_token_budget, value);
    EXPECT_EQ(request.sampling.seed, value);
  }
}

// Spec 01 §2.3: at every level, whatever their value is; twice is no "duplicate known field"
TEST(V1Requests, UnknownFieldsAreIgnoredAtEveryLevel) {
  for (const char* value : {
           "null", "1.5", "\"x\"", "true", "[]", "{}", R"([{"id":5}])", R"({"messages":7,"a":[[]]})",
           "99999999999999999999"}) {
    const std::string field = "\"future_field\":" + std::string(value);
    const std::string message = "{" + field + R"(,"role":"user","content":"hi",)" + field + "}";
    const std::string line = "{" + field + R"(,"id":"a","messages":[)" + message + "]," + field + "}";
    expect_same(request_of(line), hi("a"));
  }
  expect_same(request_of(R"({"ID":5,"":1,"id ":2,"idx":3,"id":"a",)" + std::string(kHi) + "}"), hi("a"));
}

// Spec 01 §2.3: 127 nested arrays and objects, the frame itself being the first
TEST(V1Requests, NestingIsReadToADepthOf127) {
  const auto nested = [](int depth) {
    return R"({"id":"a","x":)" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "," + std::string(kHi) + "}";
  };
  expect_same(request_of(nested(127)), hi("a"));
  failure_of(nested(128));
  failure_of(nested(1'000'000));
}

// Spec 01 §2, §2.1: the limit is the transport's; a line of exactly this size is a frame
TEST(V1Requests, AFrameOfTheLargestSizeIsRead) {
  const std::string head = R"({"id":"big","messages":[{"role":"user","content":")", tail = R"("}]})";
  std::string line = head + std::string(kMaxFrameBytes - head.size() - tail.size(), 'x') + tail;
  ASSERT_EQ(line.size(), 67'108'864u);
  EXPECT_EQ(text_of(request_of(line).messages.at(0)).size(), line.size() - head.size() - tail.size());
  line.back() = ']';
  failure_of(line);
  expect_same(request_of(encode(hi("small"))), hi("small"));
}

TEST(V1Requests, AFailureLeavesNothingBehindForTheNextFrame) {
  for (const char* bad : {"", "{", R"({"id":"x")", R"({"id":"x","messages":[{"role":"user")", R"({"id":"x","messages":5})"}) {
    failure_of(bad);
    expect_same(request_of(encode(hi())), hi());
  }
}

// Spec 01 §1: frames are UTF-8. The caller's text, quoted and cut in a message, has to stay text.
TEST(V1Requests, AReplyToADecodeFailureIsAFrameThatCanBeRead) {
  std::vector<std::string> lines = {R"({"id":")" + std::string("é\\u0000\\n") + R"("})", "{\"id\":\"r\",\"messages\":\"\xFF\"}"};
  for (size_t length = 55; length <= 70; ++length) {
    for (const char* text : {"é", "☃", "𝄞", "\\u0000"}) {
      const std::string role = std::string(length, 'a') + text + text;
      lines.push_back(R"({"id":"r","messages":[{"role":")" + role + R"(","content":""}]})");
    }
  }
  for (const std::string& line : lines) {
    const DecodeFailure failure = failure_of(line);
    std::string reply;
    append_error(reply, failure.id, Code::kInvalidRequest, "decode: " + failure.message);
    const auto read = decode_response(line_of(reply));
    ASSERT_TRUE(read) << reply;
    EXPECT_EQ(std::get<Failure>(*read).error.message, "decode: " + failure.message);
  }
}

// Validation: spec 01 §4 steps 2 and 3, README 3 and 6.

std::string refusal(const GenerateRequest& request) {
  const auto valid = validate(request);
  if (valid) return "";
  EXPECT_EQ(valid.error().code, Code::kInvalidRequest);
  EXPECT_TRUE(valid.error().message.starts_with("invalid request: ")) << valid.error().message;
  return valid.error().message;
}

// P3
TEST(V1Validation, NoMessagesAreRefusedFirstAndWithThePublishedText) {
  GenerateRequest request = request_of(R"({"id":"x","messages":[],"image_token_budget":999,"stop":[""]})");
  EXPECT_EQ(request.id, "x");
  EXPECT_EQ(refusal(request), "invalid request: messages must not be empty");
}

// P4, P5
TEST(V1Validation, AnImageTokenBudgetHasToBeOfTheSet) {
  for (const uint32_t budget : {70u, 140u, 280u, 560u, 1120u}) {
    const GenerateRequest request = request_of("{" + std::string(kHi) + ",\"image_token_budget\":" + std::to_string(budget) + "}");
    EXPECT_EQ(request.image_token_budget, budget);
    EXPECT_EQ(refusal(request), "");
  }
  for (const uint32_t budget : {0u, 1u, 69u, 71u, 999u, 4294967295u}) {
    const GenerateRequest request = request_of("{" + std::string(kHi) + ",\"image_token_budget\":" + std::to_string(budget) + "}");
    EXPECT_EQ(refusal(request),
              "invalid request: image_token_budget " + std::to_string(budget) + " not in [70, 140, 280, 560, 1120]");
  }
}

// Spec 01 §3: "no range check", "0 is legal", content may be empty
TEST(V1Validation, SamplingNumbersAndEmptyTextsAreNotChecked) {
  for (const char* fields : {R"("temperature":-1)", R"("temperature":1e300)", R"("top_p":-5)", R"("top_p":7)", R"("top_k":4294967295)",
                             R"("max_tokens":0)", R"("max_tokens":4294967295)", R"("grammar":"not gbnf")"}) {
    EXPECT_EQ(refusal(request_of("{" + std::string(kHi) + "," + fields + "}")), "") << fields;
  }
  EXPECT_EQ(refusal(request_of(R"({"messages":[{"role":"assistant","content":""}]})")), "");
}

// README 3: at most 16 strings of 1 to 256 bytes
TEST(V1Validation, StopStringsAreBounded) {
  GenerateRequest request = hi();
  request.stop.assign(16, std::string(256, 'x'));
  EXPECT_EQ(refusal(request), "");
  request.stop.assign(17, "x");
  EXPECT_NE(refusal(request).find("stop"), std::string::npos);
  for (const std::string& text : {std::string(), std::string(257, 'x'), std::string(255, 'x') + "ü"}) {
    request.stop = {"ok", text};
    EXPECT_NE(refusal(request).find("stop[1]"), std::string::npos) << text;
  }
}

// README 3 and 6: an unknown value of the right type is refused by name, and the connection stays open
TEST(V1Validation, AnUnknownPriorityIsRefusedByName) {
  for (const auto& [text, priority] : {std::pair("interactive", Priority::kInteractive), std::pair("batch", Priority::kBatch)}) {
    const auto request = request_of("{" + std::string(kHi) + ",\"priority\":\"" + text + "\"}");
    EXPECT_EQ(request.priority, priority);
    EXPECT_EQ(refusal(request), "");
  }
  for (const char* text : {"", "Batch", "BATCH", "batch ", "urgent"}) {
    const auto request = request_of(R"({"id":"r",)" + std::string(kHi) + ",\"priority\":\"" + text + "\"}");
    EXPECT_EQ(request.id, "r");
    EXPECT_NE(refusal(request).find("priority"), std::string::npos) << text;
  }
}

// Writing: spec 01 §2.2.

TEST(V1Writing, ExactlyQuotesBackslashesAndControlCharactersAreEscaped) {
  const std::map<char, std::string> kShort = {{'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"}, {'\f', "\\f"},
                                              {'\n', "\\n"}, {'\r', "\\r"},  {'\t', "\\t"}};
  for (int byte = 0; byte < 128; ++byte) {
    const char c = static_cast<char>(byte);
    std::string expected(1, c);
    if (kShort.contains(c)) {
      expected = kShort.at(c);
    } else if (byte < 0x20) {
      constexpr std::string_view kHex = "0123456789abcdef";
      expected = std::string("\\u00") + kHex[byte / 16] + kHex[byte % 16];
    }
    std::string out;
    ASSERT_TRUE(append_token(out, "", std::string(1, c)));
    EXPECT_EQ(out, R"({"type":"token","id":"","content":")" + expected + "\"}\n") << byte;
  }
}

// §2.2: compact, one LF at the end and nowhere else, whatever the text holds
TEST(V1Writing, EveryFrameIsOneLine) {
  std::string all;
  for (int byte = 0; byte < 128; ++byte) all += static_cast<char>(byte);
  all += "é☃𝄞";
  for (const Response& response : std::initializer_list<Response>{
           Token{all, all}, done(all, all, StopReason::kEnd, {1, 2, 3}, all, all), Failure{all, {Code::kInternal, all}},
           StatusFrame{all, all}}) {
    const std::string frame = encode(response);
    EXPECT_EQ(frame.find('\n') + 1, frame.size());
    const auto read = decode_response(line_of(frame));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(encode(*read), frame);
  }
}

TEST(V1Writing, FramesAreAppendedToWhatIsThere) {
  std::string out;
  ASSERT_TRUE(append_token(out, "a", "b"));
  append_error(out, "a", Code::kQueueFull, "queue full");
  EXPECT_EQ(out, R"({"type":"token","id":"a","content":"b"})" "\n"
                 R"({"type":"error","id":"a","code":"queue_full","message":"queue full"})" "\n");
}

// Spec 01 §1: frames are UTF-8, and a message may name a file, whose path is any bytes
TEST(V1Writing, AMessageThatIsNoUtf8StillGivesAFrameThatCanBeRead) {
  for (const char* path : {"/m\xFF.gguf", "/\xE2\x82", "/\xED\xA0\x80/x"}) {
    std::string frame;
    append_error(frame, "i", Code::kBackendUnavailable, std::string("model file ") + path);
    EXPECT_TRUE(decode_response(line_of(frame))) << frame;
  }
}

// Spec 01 §6.1, 02 §5.1, 03 §5: no other code is ever sent; the last three come from what v1 does not have
TEST(V1Writing, EveryCodeOfOursHasAPublishedName) {
  const std::map<Code, std::string> kNames = {{Code::kInvalidRequest, "invalid_request"},
                                              {Code::kQueueFull, "queue_full"},
                                              {Code::kBackendUnavailable, "backend_unavailable"},
                                              {Code::kFrameTooLarge, "frame_too_large"},
                                              {Code::kAttachmentUnsupported, "attachment_unsupported"},
                                              {Code::kToolCallMalformed, "tool_call_malformed"},
                                              {Code::kEmbedUnsupported, "embed_unsupported"}};
  for (int value = 0; value <= static_cast<int>(Code::kIntegrity); ++value) {
    const auto code = static_cast<Code>(value);
    const std::string expected = kNames.contains(code) ? kNames.at(code) : "internal";
    std::string out;
    append_error(out, "i", code, "m");
    EXPECT_EQ(out, R"({"type":"error","id":"i","code":")" + expected + R"(","message":"m"})" "\n");
    EXPECT_EQ(error_code_from_name(expected), kNames.contains(code) ? code : Code::kInternal);
  }
  for (const char* name : {"", "Queue_Full", "queue full", "not_found"}) EXPECT_EQ(error_code_from_name(name), std::nullopt) << name;
}

// README 3 ("v1 reports `end`"); spec 01 §6.1: published clients of v1 know no other name
TEST(V1Writing, AStopReasonThatOnlyV2HasIsWrittenAsEnd) {
  for (const StopReason reason : {StopReason::kEnd, StopReason::kStopSequence, StopReason::kToolUse}) {
    EXPECT_EQ(encode(done("a1", "Hello", reason, {12, 2, 8}, "llamacpp", "local")), golden("done_end"));
    EXPECT_EQ(stop_reason_name(reason), "end");
  }
}

// Responses: 09 §4.

TEST(V1Responses, WhatIsNoKnownFrameIsAnError) {
  const std::string usage = R"("usage":{"prompt_tokens":1,"completion_tokens":1})";
  const std::string rest = R"("stop_reason":"end","backend":"mock")";
  const auto with = [&](const std::string& body) { return R"({"type":"done","id":"a",)" + body + "}"; };
  const std::string good = with("\"content\":\"x\"," + usage + "," + rest);
  ASSERT_TRUE(decode_response(good));
  for (const std::string& line : std::vector<std::string>{
           "", " ", "{}", "[]", "nonsense", good + good, good + "x", R"({"type":"later","id":"a"})",
           R"({"type":"Token","id":"a","content":""})", R"({"id":"a","content":""})",
           R"({"type":null,"id":"a","content":""})", R"({"type":"token","content":""})",
           R"({"type":"token","id":null,"content":""})", R"({"type":"token","id":5,"content":""})",
           R"({"type":"token","id":"a"})", R"({"type":"token","id":"a","content":null})",
           R"({"type":"token","id":"a","content":["x"]})", R"({"type":"token","id":"a","content":"","content":""})",
           R"({"type":"status","id":"a"})", R"({"type":"status","id":"a","status":5})",
           R"({"type":"error","id":"a","message":"m"})", R"({"type":"error","id":"a","code":"internal"})",
           R"({"type":"error","id":"a","code":"later","message":"m"})",
           R"({"type":"error","id":"a","code":"Internal","message":"m"})", with(usage + "," + rest),
           with("\"content\":\"x\"," + rest), with("\"content\":\"x\",\"usage\":null," + rest),
           with("\"content\":\"x\",\"usage\":[1,1]," + rest), with("\"content\":\"x\",\"usage\":{}," + rest),
           with(R"("content":"x","usage":{"prompt_tokens":1},)" + rest),
           with(R"("content":"x","usage":{"completion_tokens":1},)" + rest),
           with(R"("content":"x","usage":{"prompt_tokens":-1,"completion_tokens":1},)" + rest),
           with(R"("content":"x","usage":{"prompt_tokens":1,"completion_tokens":4294967296},)" + rest),
           with(R"("content":"x","usage":{"prompt_tokens":1.0,"completion_tokens":1},)" + rest),
           with(R"("content":"x","usage":{"prompt_tokens":1,"prompt_tokens":1,"completion_tokens":1},)" + rest),
           with("\"content\":\"x\"," + usage + R"(,"backend":"mock")"),
           with("\"content\":\"x\"," + usage + R"(,"stop_reason":"end")"),
           with("\"content\":\"x\"," + usage + R"(,"stop_reason":"end_turn","backend":"mock")"),
           with("\"content\":\"x\"," + usage + R"(,"stop_reason":"End","backend":"mock")"),
           with("\"content\":\"x\"," + usage + R"(,"stop_reason":"end","backend":null)")}) {
    EXPECT_FALSE(decode_response(line)) << line;
  }
}

// Properties, with fixed seeds.

double random_double(std::mt19937_64& random) {
  const uint64_t bits = random();
  if (bits % 2 == 0) return static_cast<double>(bits >> 11) * 0x1p-52;  // 0 to 2, as sampling parameters are
  const double value = std::bit_cast<double>(random());
  return std::isfinite(value) ? value : 0.5;
}

// P1
TEST(V1Properties, ARequestIsReadBackAsItWasWritten) {
  std::mt19937 random(1);
  std::mt19937_64 wide(2);
  for (int i = 0; i < 3'000; ++i) {
    GenerateRequest request = standard();
    request.id = random_text(random);
    for (size_t left = random() % 4; left > 0; --left) {
      const auto role = static_cast<Role>(random() % 3);
      request.messages.push_back(text_message(role, random_text(random)));
    }
    if (random() % 2 == 0) request.sampling.temperature = random_double(wide);
    if (random() % 2 == 0) request.sampling.top_p = random_double(wide);
    if (random() % 2 == 0) request.sampling.top_k = random();
    if (random() % 2 == 0) request.sampling.seed = random();
    if (random() % 2 == 0) request.max_tokens = random();
    if (random() % 2 == 0) request.image_token_budget = random();
    request.stream = random() % 2 == 0;
    request.grammar = random_text(random);
    for (size_t left = random() % 3; left > 0; --left) request.stop.push_back(random_text(random));
    request.priority = random() % 2 == 0 ? Priority::kInteractive : Priority::kBatch;
    request.local_only = random() % 2 == 0;
    const std::string bytes = encode(request);
    expect_same(request_of(line_of(bytes)), request);
    if (HasFailure()) FAIL() << bytes;
  }
}

constexpr std::array<std::string_view, 28> kPieces = {
    "null", "1e400", "-1", "64.0", "4294967296", "0", "true", "\"", "\\", "{", "}", "[", "]", ",", ":", "\xFF",
    "\xE2\x82", "é", "\\ud800", "\\u0000", "\\ud834\\udd1e", "\"id\":\"x\",", "\"messages\":[],",
    "\"stop\":[\"\"],", "[[[[[[[[", "\"role\":\"x\",", "\"type\":\"done\",", " "};

TEST(V1Properties, ADamagedRequestIsRefusedOrIsARequestThatCanBeWrittenAgain) {
  std::mt19937 random(3);
  std::vector<std::string> frames;
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
    EXPECT_TRUE(is_valid_utf8(line));
    const auto& request = std::get<GenerateRequest>(decoded);
    refusal(request);
    const std::string bytes = encode(request);
    expect_same(request_of(line_of(bytes)), request);
  }
  EXPECT_GT(requests, 5'000);
  EXPECT_GT(failures, 5'000);
}

TEST(V1Properties, ADamagedResponseIsAnErrorOrAFrameThatCanBeWrittenAgain) {
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

// P14
TEST(V1Writing, AFrameOf64MebibytesIsRefusedAndLeavesTheBufferAsItWas) {
  std::string out = "before";
  const std::string content(64u << 20, 'a');
  EXPECT_EQ(append_token(out, "a", content).error().code, Code::kFrameTooLarge);
  EXPECT_EQ(append_done(out, "a", content, Completion{}, "mock", "mock").error().code, Code::kFrameTooLarge);
  EXPECT_EQ(out, "before");
}

}  // namespace
}  // namespace inferd::wire::v1
