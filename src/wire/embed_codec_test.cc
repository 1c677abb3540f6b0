// The embed codec against spec 03: golden files (tests/golden/embed) are read and written, then every rule of decoding, validation and
// of the numbers' text. Framing and JSON are tested in depth in v1_codec_test and json_document_test.
#include "wire/embed_codec.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "base/utf8.h"
#include "request/limits.h"
#include "wire/error_code.h"
#include "wire/golden_frames.h"

namespace inferd::wire::embed {
namespace {

const GoldenFolder kGolden("embed");
constexpr std::string_view kHello = R"("input":["hello"])";

std::string golden(const std::string& name) { return kGolden.read(name); }

std::string encode(const EmbedRequest& request) {
  std::string out;
  append_request(out, request);
  return out + "\n";
}

std::string encode(const Response& response) {
  std::string out;
  if (const auto* vectors = std::get_if<Vectors>(&response)) {
    EXPECT_TRUE(append_embeddings(out, vectors->id, vectors->embeddings, vectors->backend, vectors->route));
  } else {
    const auto& failure = std::get<Failure>(response);
    append_error(out, failure.id, failure.error.code, failure.error.message);
  }
  return out;
}

EmbedRequest request_of(std::string_view line) {
  auto decoded = decode_request(line);
  if (auto* request = std::get_if<EmbedRequest>(&decoded)) return std::move(*request);
  ADD_FAILURE() << std::get<DecodeFailure>(decoded).message << ": " << line.substr(0, 300);
  return {};
}

DecodeFailure failure_of(std::string_view line) {
  auto decoded = decode_request(line);
  if (auto* failure = std::get_if<DecodeFailure>(&decoded)) return std::move(*failure);
  ADD_FAILURE() << "decoded: " << line.substr(0, 300);
  return {};
}

void expect_same(const EmbedRequest& read, const EmbedRequest& expected) {
  EXPECT_EQ(read.id, expected.id);
  EXPECT_EQ(read.input, expected.input);
  EXPECT_EQ(read.dimensions, expected.dimensions);
  EXPECT_EQ(read.task, expected.task);
  EXPECT_EQ(read.local_only, expected.local_only);
}

EmbedRequest inputs(std::string id, std::vector<std::string> texts) {
  EmbedRequest request;
  request.id = std::move(id);
  request.input = std::move(texts);
  return request;
}

// The requests of the golden files that are read and written.
std::map<std::string, EmbedRequest> written_requests() {
  std::map<std::string, EmbedRequest> files;
  files["request_only_required"] = inputs("", {"hello"});
  auto& published = files["request_all_published_fields"] = inputs("e1", {"tea", "coffee"});
  published.dimensions = 256;
  published.task = EmbedTask::kRetrievalDocument;
  auto& all = files["request_all_fields"] = inputs("e2", {"tea"});
  all.dimensions = 1;
  all.task = EmbedTask::kSimilarity;
  all.local_only = true;
  for (const auto& [name, task] :
       {std::pair("retrieval_query", EmbedTask::kRetrievalQuery), std::pair("classification", EmbedTask::kClassification),
        std::pair("clustering", EmbedTask::kClustering), std::pair("question_answering", EmbedTask::kQuestionAnswering),
        std::pair("fact_verification", EmbedTask::kFactVerification), std::pair("code_retrieval_query", EmbedTask::kCodeRetrievalQuery),
        std::pair("other", EmbedTask::kUnknown)}) {
    auto& request = files[std::string("request_task_") + name] = inputs("", {"hello"});
    request.task = task;
  }
  files["request_no_input"] = inputs("e3", {});
  files["request_limits"] = inputs("e4", {"", " "});
  files["request_limits"].dimensions = 4294967295;
  files["request_zero_dimensions"] = inputs("", {"hello"});
  files["request_zero_dimensions"].dimensions = 0;
  files["request_escaped_text"] = inputs(kEscapedId, {kEscapedText, kEscapedId});
  return files;
}

// Files that say the same as another one in a form that we never write.
const std::map<std::string, std::string> kReadRequests = {
    {"request_nulls", "request_only_required"},
    {"request_unknown_fields", "request_all_published_fields"},
    {"request_other_key_order", "request_all_published_fields"},
    {"request_white_space", "request_all_published_fields"},
    {"request_task_of_the_future", "request_task_other"},
};

Vectors vectors(std::string id, Embeddings embeddings, std::string backend, std::string route) {
  return {std::move(id), std::move(embeddings), std::move(backend), std::move(route)};
}

std::map<std::string, Response> written_responses() {
  const auto error = [](std::string id, Code code, std::string message) {
    return Failure{std::move(id), {code, std::move(message)}};
  };
  const std::vector<float> numbers = {0.0f,         -0.0f, 1.0f,   -1.0f,     0.1f,     0.5f,  1e-6f,          -1.2345679e-6f, 1.5e-7f,
                                      9.999999e-7f, 1e-7f, 1e-45f, 16777216,  123.456f, 1e12f, -1.234568e12f,  1e13f,          3e13f,
                                      3.4028235e38f, 1.1754944e-38f};
  return {
      {"embeddings", vectors("e1", {2, {0.6f, -0.8f, 0.8f, 0.6f}, "EmbeddingGemma 300M", 14}, "llamacpp", "vectors")},
      {"embeddings_numbers", vectors("", {20, numbers, "mock", 4294967295}, "mock", "mock")},
      {"embeddings_escaped_text", vectors(kEscapedId, {0, {}, kEscapedText, 0}, "mock", "far \"away\"")},
      {"error_queue_full", error("e1", Code::kQueueFull, "queue full")},
      {"error_backend_unavailable", error("e1", Code::kBackendUnavailable, "no backend available")},
      {"error_invalid_request", error("e1", Code::kInvalidRequest, "invalid request: input must not be empty")},
      {"error_frame_too_large", error("", Code::kFrameTooLarge, "frame exceeds 67108864 byte cap")},
      {"error_internal", error("e1", Code::kInternal, "embed task join: \"x\"\n")},
      {"error_embed_unsupported", error("e1", Code::kEmbedUnsupported, "backend \"llamacpp\" does not support embeddings")},
  };
}

std::map<std::string, Response> read_responses() {
  Vectors of_0_2_1 = std::get<Vectors>(written_responses().at("embeddings"));
  of_0_2_1.route = "";
  return {{"embeddings_of_0_2_1", of_0_2_1}, {"embeddings_other_key_order_and_unknown_fields", written_responses().at("embeddings")}};
}

std::string refusal(const EmbedRequest& request) {
  const auto valid = validate(request);
  if (valid) return "";
  EXPECT_EQ(valid.error().code, Code::kInvalidRequest);
  EXPECT_TRUE(valid.error().message.starts_with("invalid request: ")) << valid.error().message;
  return valid.error().message.substr(std::string_view("invalid request: ").size());
}

// Golden files.

TEST(EmbedGolden, EveryFileIsOneLineAndIsTested) {
  std::set<std::string> tested;
  for (const auto& [name, request] : written_requests()) tested.insert(name);
  for (const auto& [name, same] : kReadRequests) tested.insert(name);
  for (const auto& [name, response] : written_responses()) tested.insert(name);
  for (const auto& [name, response] : read_responses()) tested.insert(name);
  kGolden.expect_one_line_each_and(tested);
}

// P29, spec 03 §2, README 3
TEST(EmbedGolden, P29RequestsAreReadIntoTheirFields) {
  for (const auto& [name, request] : written_requests()) {
    SCOPED_TRACE(name);
    expect_same(request_of(line_of(golden(name))), request);
  }
}

// P31 is request_only_required
TEST(EmbedGolden, P31RequestsAreWrittenByteForByte) {
  for (const auto& [name, request] : written_requests()) EXPECT_EQ(encode(request), golden(name)) << name;
  EXPECT_EQ(golden("request_only_required").find("dimensions"), std::string::npos);
  EXPECT_EQ(golden("request_only_required").find("task"), std::string::npos);
}

TEST(EmbedGolden, OtherFormsOfARequestMeanTheSame) {
  const auto requests = written_requests();
  for (const auto& [name, same] : kReadRequests) {
    SCOPED_TRACE(name);
    expect_same(request_of(line_of(golden(name))), requests.at(same));
  }
}

// Spec 03 §5
TEST(EmbedGolden, P32ResponsesAreWrittenByteForByte) {
  for (const auto& [name, response] : written_responses()) EXPECT_EQ(encode(response), golden(name)) << name;
}

TEST(EmbedGolden, P32ResponsesAreReadIntoTheirFields) {
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

// P32 literally
TEST(EmbedGolden, P32FramesHaveTheTextsThatPublishedTestsLookFor) {
  EXPECT_NE(golden("embeddings").find(R"("type":"embeddings")"), std::string::npos);
  EXPECT_NE(golden("error_embed_unsupported").find(R"("code":"embed_unsupported")"), std::string::npos);
  EXPECT_EQ(error_code_from_name("embed_unsupported"), Code::kEmbedUnsupported);
}

// Requests: strictness.

// Spec 01 §2.3, 03 §2; README 2: the reply carries the id where one could be read; architecture §5: the field is named
TEST(EmbedRequests, AFieldOfTheWrongShapeIsADecodeFailureThatNamesItAndCarriesTheId) {
  const std::string hello(kHello);
  std::vector<std::pair<std::string, std::string>> cases = {
      {"input", R"("x":1)"},
      {"input", R"("input":null)"},
      {"input", R"("input":"hello")"},
      {"input", R"("input":{})"},
      {"input", hello + "," + hello},
      {"input[0]", R"("input":[1])"},
      {"input[0]", R"("input":[["hello"]])"},
      {"input[1]", R"("input":["hello",null])"},
  };
  const auto wrong = [&](const std::string& field, std::initializer_list<const char*> values) {
    for (const char* value : values) cases.push_back({field, hello + ",\"" + field + "\":" + value});
  };
  wrong("dimensions", {"1.0", "-1", "4294967296", R"("256")", "true", "[]", "1e400"});
  wrong("task", {"5", "true", "[]", "{}", R"(["similarity"])"});
  wrong("local_only", {"1", R"("true")"});
  for (const char* field : {"dimensions", "task", "local_only"}) {
    cases.push_back({field, hello + ",\"" + field + "\":null,\"" + field + "\":null"});
  }
  for (const auto& [named, body] : cases) {
    SCOPED_TRACE(body);
    const DecodeFailure failure = failure_of(R"({"id":"r",)" + body + "}");
    EXPECT_EQ(failure.id, "r");
    EXPECT_NE(failure.message.find("`" + named + "`"), std::string::npos) << failure.message;
    EXPECT_EQ(failure_of("{" + body + "}").id, "");
    EXPECT_EQ(failure_of("{" + body + R"(,"id":"last"})").id, "last");
  }
  EXPECT_EQ(failure_of(R"({"id":5,"input":["hello"]})").id, "");
}

TEST(EmbedRequests, ALineThatIsNotOneJsonObjectIsADecodeFailure) {
  const std::string good = line_of(golden("request_all_fields"));
  for (const std::string& line : std::vector<std::string>{"", " ", "{", "[]", "null", "{}", R"(["hello"])", good + good, good + "x",
                                                          good.substr(0, good.size() - 1), R"({"input":["\ud800"]})",
                                                          "{\"input\":[\"\xFF\"]}"}) {
    EXPECT_FALSE(failure_of(line).message.empty()) << line;
  }
  expect_same(request_of(good), written_requests().at("request_all_fields"));
}

// README 7: what a frame can make us hold is bounded, and the limit is said
TEST(EmbedRequests, ManyInputsAreReadAndTooManyAreAFailure) {
  const auto line = [](size_t count) {
    std::string inputs;
    for (size_t i = 0; i < count; ++i) inputs += i == 0 ? "\"a\"" : ",\"a\"";
    return R"({"id":"r","input":[)" + inputs + "]}";
  };
  EXPECT_EQ(request_of(line(10'000)).input.size(), 10'000u);
  EXPECT_NE(failure_of(line(1'000'000)).message.find("too many values"), std::string::npos);
}

// Validation: spec 03 §3 in its order.

TEST(EmbedValidation, P28InputsAreNotEmpty) {
  EXPECT_EQ(refusal(request_of(R"({"input":[],"task":"later","dimensions":0})")), "input must not be empty");
  EXPECT_EQ(refusal(request_of(R"({"input":["hello",""],"task":"later"})")), "input[1] must not be empty");
  EXPECT_EQ(refusal(request_of(R"({"input":["",""]})")), "input[0] must not be empty");
  const EmbedRequest request = request_of(R"({"input":["hello"]})");
  EXPECT_EQ(refusal(request), "");
  EXPECT_EQ(request.dimensions, std::nullopt);
  EXPECT_EQ(request.task, std::nullopt);
  EXPECT_EQ(refusal(request_of(R"({"input":[" ","\n","\u0000"]})")), "");  // white space passes
}

TEST(EmbedValidation, P30AnUnknownTaskIsReadAndRefused) {
  for (const char* task : {"some_future_task", "other", "", "Similarity", "similarity "}) {
    const EmbedRequest request = request_of("{" + std::string(kHello) + ",\"task\":\"" + task + "\"}");
    EXPECT_EQ(request.task, EmbedTask::kUnknown);
    EXPECT_EQ(task_from_name(task), std::nullopt);
    EXPECT_EQ(refusal(request), "task uses an unknown variant");
  }
}

TEST(EmbedValidation, EveryTaskHasItsName) {
  for (const auto& [name, request] : written_requests()) {
    if (!request.task || *request.task == EmbedTask::kUnknown) continue;
    const std::string frame = encode(request);
    const size_t begin = frame.find("\"task\":\"") + 8;
    EXPECT_EQ(task_from_name(frame.substr(begin, frame.find('"', begin) - begin)), request.task) << name;
  }
}

// The greatest number is a backend's to judge; a vector without numbers is nobody's wish
TEST(EmbedValidation, DimensionsAreAtLeastOne) {
  for (const char* dimensions : {"1", "256", "99999", "4294967295", "null"}) {
    EXPECT_EQ(refusal(request_of("{" + std::string(kHello) + ",\"dimensions\":" + dimensions + "}")), "") << dimensions;
  }
  EXPECT_NE(refusal(request_of("{" + std::string(kHello) + ",\"dimensions\":0}")).find("dimensions"), std::string::npos);
}

// Numbers: spec 03 §5.

std::string text_of(float value) {
  std::string out;
  EXPECT_TRUE(append_embeddings(out, "", {1, {value}, "", 0}, "", ""));
  const std::string_view head = R"({"type":"embeddings","id":"","embeddings":[[)", tail = R"(]],"dimensions":1,)";
  EXPECT_TRUE(out.starts_with(head)) << out;
  return out.substr(head.size(), out.find(tail) - head.size());
}

TEST(EmbedNumbers, FixedNotationHasAFractionAndScientificTheFewestDigits) {
  const std::vector<std::pair<float, const char*>> kTexts = {
      {0.0f, "0.0"}, {-0.0f, "-0.0"}, {1.0f, "1.0"}, {-1.0f, "-1.0"}, {10.0f, "10.0"}, {0.1f, "0.1"}, {12.5f, "12.5"}, {100.25f, "100.25"},
      {-0.031234566f, "-0.031234566"}, {1e-5f, "0.00001"}, {1e-6f, "0.000001"}, {9.5e-6f, "0.0000095"}, {9.5e-7f, "9.5e-7"}, {1.5e-7f, "1.5e-7"},
      {-1e-10f, "-1e-10"}, {1e-45f, "1e-45"}, {8388608.0f, "8388608.0"}, {1e10f, "10000000000.0"}, {1.5e12f, "1500000000000.0"},
      {3e13f, "3e+13"}, {1e20f, "1e+20"}, {3.4028235e38f, "3.4028235e+38"}, {-3.4028235e38f, "-3.4028235e+38"}};
  for (const auto& [value, text] : kTexts) EXPECT_EQ(text_of(value), text);
  using Limits = std::numeric_limits<float>;
  for (const float value : {Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
    EXPECT_EQ(text_of(value), "null");
  }
}

TEST(EmbedNumbers, EveryFloatIsTheShortestTextThatReadsBackAsIt) {
  std::mt19937 random(1);
  for (int i = 0; i < 200'000 && !HasFailure(); ++i) {
    const auto value = i % 2 == 0 ? std::bit_cast<float>(static_cast<uint32_t>(random()))
                                  : static_cast<float>(random()) * 0x1p-32f - 0.5f;
    if (!std::isfinite(value)) continue;
    const std::string text = text_of(value);
    float back = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), back);
    EXPECT_EQ(read.ptr, text.data() + text.size()) << text;
    EXPECT_EQ(std::bit_cast<uint32_t>(back), std::bit_cast<uint32_t>(value)) << text;
    char shortest[32];
    const auto end = std::to_chars(shortest, shortest + sizeof shortest, value, std::chars_format::scientific).ptr;
    const auto digits = [](std::string_view number) {  // without the zeros around them
      number = number.substr(0, number.find('e'));
      std::string found;
      for (const char c : number) {
        if (c >= '0' && c <= '9' && !(found.empty() && c == '0')) found += c;
      }
      return found.substr(0, found.find_last_not_of('0') + 1);
    };
    EXPECT_EQ(digits(text), digits({shortest, end})) << text;
  }
}

// The client's way back goes through a double
TEST(EmbedNumbers, AVectorIsReadBackAsItWasWritten) {
  std::mt19937 random(2);
  Embeddings embeddings{.dimensions = 1'000, .values = {}, .model = "m", .input_tokens = 7};
  for (int i = 0; i < 50'000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    embeddings.values.push_back(std::isfinite(value) ? value : 0.5f);
  }
  const auto read = decode_response(line_of(encode(vectors("i", embeddings, "b", "r"))));
  ASSERT_TRUE(read) << read.error().message;
  const auto& back = std::get<Vectors>(*read).embeddings;
  EXPECT_EQ(back.dimensions, 1'000u);
  EXPECT_EQ(back.input_tokens, 7u);
  ASSERT_EQ(back.values.size(), embeddings.values.size());
  for (size_t i = 0; i < back.values.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(back.values[i]), std::bit_cast<uint32_t>(embeddings.values[i])) << i;
  }
}

// Sizes.

std::vector<float> random_unit_vectors(size_t count, size_t dimensions) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(count * dimensions);
  for (size_t row = 0; row < count; ++row) {
    double squares = 0;
    for (size_t i = 0; i < dimensions; ++i) {
      float& value = values[row * dimensions + i] = normal(random);
      squares += static_cast<double>(value) * value;
    }
    for (size_t i = 0; i < dimensions; ++i) values[row * dimensions + i] /= static_cast<float>(std::sqrt(squares));
  }
  return values;
}

// The estimate stays below what such vectors have, and not by much: found by the number of inputs from which it refuses.
TEST(EmbedSizes, TheEstimateIsALittleLessThanVectorsOfNormallyDistributedPartsHave) {
  for (const uint32_t dimensions : {8u, 64u, 256u, 384u, 768u, 1024u, 4096u}) {
    SCOPED_TRACE(dimensions);
    const size_t rows = 40'000 / dimensions;
    std::string frame;
    ASSERT_TRUE(append_embeddings(frame, "", {dimensions, random_unit_vectors(rows, dimensions), "", 0}, "", ""));
    const double per_row = static_cast<double>(frame.size()) / static_cast<double>(rows);
    const auto fitting = static_cast<size_t>(static_cast<double>(kMaxFrameBytes) / per_row);
    EXPECT_TRUE(fits_one_frame(inputs("", std::vector<std::string>(fitting, "a")), dimensions));
    EXPECT_FALSE(fits_one_frame(inputs("", std::vector<std::string>(fitting + fitting / 20, "a")), dimensions));
  }
}

TEST(EmbedSizes, AResultThatCannotBeSentIsRefusedWithBothSizes) {
  const EmbedRequest request = inputs("", std::vector<std::string>(10'000, "a"));
  EXPECT_TRUE(fits_one_frame(request, 384));
  const auto refused = fits_one_frame(request, 1024);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidRequest);
  EXPECT_NE(refused.error().message.find("10000 inputs of 1024 dimensions"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("118.7 MiB"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("64.0 MiB"), std::string::npos) << refused.error().message;
  EXPECT_FALSE(fits_one_frame(inputs("", std::vector<std::string>(900'000, "a")), 4294967295));
  EXPECT_TRUE(fits_one_frame(inputs("", {"a"}), 65'536));
}

// P14's limit, spec 01 §2.2
TEST(EmbedWriting, AFrameOf64MebibytesIsRefusedAndLeavesTheBufferAsItWas) {
  std::string out = "before";
  const Embeddings many{.dimensions = 4096, .values = std::vector<float>(1'500 * 4'096, -0.012345678f), .model = "m", .input_tokens = 1};
  EXPECT_EQ(append_embeddings(out, "a", many, "b", "r").error().code, Code::kFrameTooLarge);
  EXPECT_EQ(out, "before");
}

// More numbers than a request may have values, as long as they fit a frame
TEST(EmbedResponses, AFrameOfManyNumbersIsRead) {
  const Embeddings many{.dimensions = 1024, .values = std::vector<float>(2'000 * 1'024, 0.5f), .model = "m", .input_tokens = 1};
  std::string frame;
  ASSERT_TRUE(append_embeddings(frame, "a", many, "b", "r"));
  const auto read = decode_response(line_of(frame));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(std::get<Vectors>(*read).embeddings.values.size(), many.values.size());
}

// Spec 01 §1: frames are UTF-8, and a model file's name of itself is any bytes
TEST(EmbedWriting, AModelNameThatIsNoUtf8StillGivesAFrameThatCanBeRead) {
  std::string frame;
  ASSERT_TRUE(append_embeddings(frame, "a", {1, {1.0f}, "m\xFF\xE2\x82", 1}, "b", "r"));
  EXPECT_TRUE(decode_response(line_of(frame))) << frame;
}

TEST(EmbedResponses, WhatIsNoKnownFrameIsAnError) {
  const std::string rest = R"("model":"m","usage":{"input_tokens":1},"backend":"mock")";
  const auto with = [&](const std::string& body) { return R"({"type":"embeddings","id":"a",)" + body + "}"; };
  const auto numbers = [&](const std::string& list) { return with("\"embeddings\":" + list + ",\"dimensions\":2," + rest); };
  ASSERT_TRUE(decode_response(numbers("[[1,-2.5e-1],[0,3]]")));
  ASSERT_TRUE(decode_response(numbers("[]")));
  ASSERT_TRUE(decode_response(numbers("[[3.4028235e38,-3.4028235e38]]")));
  for (const std::string& line : std::vector<std::string>{
           "", "{}", "[]", "nonsense", R"({"type":"later","id":"a"})", R"({"type":"done","id":"a"})",
           R"({"type":"error","id":"a","message":"m"})", R"({"type":"error","id":"a","code":"later","message":"m"})",
           numbers("null"), numbers("{}"), numbers("[1,2]"), numbers("[[1]]"), numbers("[[1,2,3]]"), numbers("[[1,2],[1]]"),
           numbers(R"([{"a":1,"b":2}])"), numbers("[[1,null]]"), numbers(R"([[1,"2"]])"), numbers("[[1,[2]]]"), numbers("[[1,1e39]]"),
           numbers("[[-3.5e38,1]]"), numbers("[[1,1e400]]"), with("\"dimensions\":2," + rest), with("\"embeddings\":[]," + rest),
           with("\"embeddings\":[],\"dimensions\":-1," + rest), with("\"embeddings\":[],\"dimensions\":null," + rest),
           with(R"("embeddings":[],"dimensions":2,"usage":{"input_tokens":1},"backend":"mock")"),
           with(R"("embeddings":[],"dimensions":2,"model":"m","backend":"mock")"),
           with(R"("embeddings":[],"dimensions":2,"model":"m","usage":{},"backend":"mock")"),
           with(R"("embeddings":[],"dimensions":2,"model":"m","usage":{"input_tokens":1})")}) {
    EXPECT_FALSE(decode_response(line)) << line;
  }
}

// Properties, with fixed seeds.

TEST(EmbedProperties, ARequestIsReadBackAsItWasWritten) {
  std::mt19937 random(1);
  for (int i = 0; i < 3'000 && !HasFailure(); ++i) {
    EmbedRequest request = inputs(random_text(random), {});
    for (size_t left = random() % 5; left > 0; --left) request.input.push_back(random_text(random));
    if (random() % 2 == 0) request.dimensions = random();
    if (random() % 2 == 0) request.task = static_cast<EmbedTask>(random() % 9);
    request.local_only = random() % 2 == 0;
    expect_same(request_of(line_of(encode(request))), request);
  }
}

constexpr std::array<std::string_view, 24> kPieces = {
    "null", "1e400", "1e39", "64.0", "4294967296", "0", "true", "\"", "\\", "{", "}", "[", "]", ",", ":", "\xFF", "\xE2\x82", "é",
    "\\ud800", "\"id\":\"x\",", "\"input\":[],", "\"task\":\"x\",", "\"type\":\"error\",", " "};

TEST(EmbedProperties, ADamagedRequestIsRefusedOrIsARequestThatCanBeWrittenAgain) {
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
      std::string reply;
      append_error(reply, failure->id, Code::kInvalidRequest, "decode: " + failure->message);
      EXPECT_TRUE(decode_response(line_of(reply))) << reply;
      continue;
    }
    ++requests;
    const auto& request = std::get<EmbedRequest>(decoded);
    refusal(request);
    expect_same(request_of(line_of(encode(request))), request);
  }
  EXPECT_GT(requests, 2'000);
  EXPECT_GT(failures, 2'000);
}

TEST(EmbedProperties, ADamagedResponseIsAnErrorOrAFrameThatCanBeWrittenAgain) {
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
      EXPECT_TRUE(is_valid_utf8(response.error().message));
      continue;
    }
    ++read;
    if (const auto* vectors = std::get_if<Vectors>(&*response); vectors != nullptr && vectors->embeddings.dimensions == 0) continue;
    const std::string bytes = encode(*response);
    const auto again = decode_response(line_of(bytes));
    ASSERT_TRUE(again) << bytes;
    EXPECT_EQ(encode(*again), bytes);
  }
  EXPECT_GT(read, 2'000);
  EXPECT_GT(refused, 2'000);
}

}  // namespace
}  // namespace inferd::wire::embed
