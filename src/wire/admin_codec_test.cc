// The admin codec against spec 04: golden files (tests/golden/admin) are read and written. What is sent when is event_bus and e2e.
#include "wire/admin_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <vector>

#include "base/utf8.h"
#include "wire/json_document.h"

namespace inferd::wire::admin {
namespace {

namespace fs = std::filesystem;
using State = StatusEvent::State;

const fs::path kGolden = fs::path(__FILE__).parent_path() / "../../tests/golden/admin";
const std::string kSha = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
const std::string kBlob = "/srv/models/blobs/b1/" + kSha + "/data";
const std::string kPartial = "/srv/models/.partial-" + kSha + "/data.tmp";

std::string golden(const std::string& name) {
  std::ifstream file(kGolden / (name + ".json"), std::ios::binary);
  EXPECT_TRUE(file) << kGolden / name;
  return {std::istreambuf_iterator<char>(file), {}};
}

template <class Event>
std::string encode(const Event& event) {
  std::string out;
  append_event(out, event);
  return out;
}

Frame frame_of(const std::string& line) {
  auto frame = decode_frame(line);
  if (frame) return std::move(*frame);
  ADD_FAILURE() << frame.error().message << ": " << line;
  return {};
}

StatusEvent status(State state) { return {.state = state, .phase = {}, .reason = {}}; }

StatusEvent phase(std::string name, std::map<std::string, Phase::Value> fields, State state = State::kLoadingModel) {
  return {.state = state, .phase = Phase{std::move(name), std::move(fields)}, .reason = {}};
}

std::map<std::string, StatusEvent> written_events() {
  constexpr uint64_t k32MiB = 33554432, kTotal = 98765432;
  const std::string url = "https://h/x.gguf";
  return {
      {"starting", status(State::kStarting)},
      {"ready", status(State::kReady)},
      {"ready_with_warning",
       {.state = State::kReady, .phase = {}, .reason = {}, .warning = "activity log /l/inferd.ndjson: No space left on device"}},
      {"restarting_with_warning",
       {.state = State::kRestarting, .phase = Phase{"engine", {{"reason", "ended by signal 11"}}}, .reason = {}, .warning = "a \"b\""}},
      {"draining", status(State::kDraining)},
      {"error", status(State::kError)},
      {"error_with_reason",
       {.state = State::kError, .phase = {}, .reason = "model file /m.gguf: No such file or directory"}},
      {"loading_checking_local_mock", phase("checking_local", {{"path", "(mock)"}})},
      {"loading_checking_local_llamacpp", phase("checking_local", {{"path", kBlob}})},
      {"loading_checking_local_openai_compat", phase("checking_local", {{"path", "(openai-compat: https://h/v1 / gpt-x)"}})},
      {"loading_download_of_unknown_size",
       phase("download", {{"downloaded_bytes", uint64_t{0}}, {"total_bytes", nullptr}, {"source_url", url}})},
      {"loading_download", phase("download", {{"downloaded_bytes", k32MiB}, {"total_bytes", kTotal}, {"source_url", url}})},
      {"loading_verify", phase("verify", {{"path", kPartial}})},
      {"loading_verify_with_progress", phase("verify", {{"path", kBlob}, {"total_bytes", kTotal}, {"verified_bytes", k32MiB}})},
      {"loading_quarantine", phase("quarantine", {{"path", kBlob},
                                                  {"expected_sha256", kSha},
                                                  {"actual_sha256", std::string(64, '0')},
                                                  {"quarantine_path", "/srv/models/quarantine/1"}})},
      {"loading_mmap", phase("mmap", {{"path", kBlob}})},
      {"loading_mmap_with_progress", phase("mmap", {{"path", kBlob}, {"progress", uint64_t{55}}})},
      {"loading_kv_cache", phase("kv_cache", {{"n_ctx", uint64_t{8192}}})},
      {"loading_path_with_escapes", phase("mmap", {{"path", "/a \"b\"\\c\n/ü.gguf"}})},
      {"restarting", phase("mmap", {{"path", kBlob}}, State::kRestarting)},
      {"restarting_engine", phase("engine", {{"reason", "ended by signal 11"}}, State::kRestarting)},
  };
}

std::map<std::string, Capabilities> written_capabilities() {
  std::map<std::string, Capabilities> files;
  // Spec 04 §3: "mock v2/thinking/embed true, rest false, cpu/0"
  auto& mock = files["capabilities_mock"];
  mock.backend = mock.name = "mock";
  mock.v2 = mock.thinking = mock.embed = true;
  auto& llamacpp = files["capabilities_llamacpp"];
  llamacpp.backend = "llamacpp";
  llamacpp.name = "smollm2";
  auto& projector = files["capabilities_llamacpp_projector"];
  projector = {.backend = "llamacpp", .name = "eyes", .v2 = true, .vision = true, .audio = true, .tools = true, .thinking = true,
               .embed = true, .accelerator = "cuda", .gpu_layers = 4294967295};
  return files;
}

const std::set<std::string> kOnlyRead = {"capabilities_of_0_2_1", "unknown_status_and_fields"};

TEST(AdminGolden, EveryFileIsOneLineAndIsTested) {
  std::set<std::string> tested = kOnlyRead, there;
  for (const auto& [name, event] : written_events()) tested.insert(name);
  for (const auto& [name, capabilities] : written_capabilities()) tested.insert(name);
  for (const auto& entry : fs::directory_iterator(kGolden)) {
    there.insert(entry.path().stem());
    const std::string bytes = golden(entry.path().stem());
    EXPECT_EQ(bytes.find('\n') + 1, bytes.size()) << entry.path();
  }
  EXPECT_EQ(there, tested);
}

// D29, D30, spec 04 §2, README 3
TEST(AdminGolden, StatusEventsAreWrittenByteForByte) {
  for (const auto& [name, event] : written_events()) EXPECT_EQ(encode(event), golden(name)) << name;
}

// Spec 04 §3, README 3 (`name`)
TEST(AdminGolden, CapabilitiesAreWrittenByteForByte) {
  for (const auto& [name, capabilities] : written_capabilities()) EXPECT_EQ(encode(capabilities), golden(name)) << name;
}

// D29, D30, C6
TEST(AdminGolden, StatusEventsAreReadIntoTheirFields) {
  static const std::map<State, std::string> kStates = {
      {State::kStarting, "starting"},     {State::kLoadingModel, "loading_model"}, {State::kReady, "ready"},
      {State::kRestarting, "restarting"}, {State::kDraining, "draining"},          {State::kError, "error"}};
  for (const auto& [name, event] : written_events()) {
    SCOPED_TRACE(name);
    const Frame frame = frame_of(golden(name));
    EXPECT_EQ(frame.status, kStates.at(event.state));
    EXPECT_EQ(frame.text("id"), "admin");
    EXPECT_EQ(frame.text("type"), "status");
    EXPECT_EQ(frame.phase, event.phase ? event.phase->name : "");
    size_t fields = 3;  // id, status, type
    if (!event.reason.empty()) {
      EXPECT_EQ(frame.text("reason"), event.reason);
      ++fields;
    }
    if (!event.warning.empty()) ++fields;
    EXPECT_EQ(frame.text("warning"), event.warning);
    if (event.phase) {
      fields += 1 + event.phase->fields.size();
      for (const auto& [key, value] : event.phase->fields) {
        SCOPED_TRACE(key);
        ASSERT_TRUE(frame.fields.contains(key));
        if (const auto* text = std::get_if<std::string>(&value)) {
          EXPECT_EQ(frame.text(key), *text);
        } else if (const auto* number = std::get_if<uint64_t>(&value)) {
          EXPECT_EQ(frame.number(key, -1), static_cast<double>(*number));
        } else {
          EXPECT_TRUE(std::holds_alternative<std::nullptr_t>(frame.fields.at(key)));  // C6: null total_bytes
        }
      }
    }
    EXPECT_EQ(frame.fields.size(), fields);
  }
}

void expect_flag(const Frame& frame, const std::string& name, bool value) {
  ASSERT_TRUE(frame.fields.contains(name)) << name;
  const auto* flag = std::get_if<bool>(&frame.fields.at(name));
  ASSERT_NE(flag, nullptr) << name;
  EXPECT_EQ(*flag, value) << name;
}

TEST(AdminGolden, CapabilitiesAreReadIntoTheirFields) {
  for (const auto& [name, capabilities] : written_capabilities()) {
    SCOPED_TRACE(name);
    const Frame frame = frame_of(golden(name));
    EXPECT_EQ(frame.status, "capabilities");
    EXPECT_EQ(frame.phase, "");
    EXPECT_EQ(frame.text("backend"), capabilities.backend);
    EXPECT_EQ(frame.text("name"), capabilities.name);
    EXPECT_EQ(frame.text("accelerator"), capabilities.accelerator);
    EXPECT_EQ(frame.number("gpu_layers", -1), capabilities.gpu_layers);
    expect_flag(frame, "v2", capabilities.v2);
    expect_flag(frame, "vision", capabilities.vision);
    expect_flag(frame, "audio", capabilities.audio);
    expect_flag(frame, "tools", capabilities.tools);
    expect_flag(frame, "thinking", capabilities.thinking);
    expect_flag(frame, "embed", capabilities.embed);
    EXPECT_EQ(frame.fields.size(), 13u);
  }
}

// Spec 04 §2: flat, alphabetical
TEST(AdminGolden, WrittenFramesAreFlatAndTheirKeysAlphabetical) {
  std::vector<std::string> frames;
  for (const auto& [name, event] : written_events()) frames.push_back(encode(event));
  for (const auto& [name, capabilities] : written_capabilities()) frames.push_back(encode(capabilities));
  for (const std::string& frame : frames) {
    JsonDocument document;
    ASSERT_TRUE(document.parse(frame)) << frame;
    std::vector<std::string> keys;
    for (const JsonValue member : document.root()) {
      keys.emplace_back(member.key());
      EXPECT_NE(member.type(), JsonValue::Type::kObject) << frame;
      EXPECT_NE(member.type(), JsonValue::Type::kArray) << frame;
    }
    EXPECT_TRUE(std::ranges::is_sorted(keys)) << frame;
  }
}

// C6, 09 §6: an older daemon's frame has no `name`, a newer one's may have anything
TEST(AdminFrames, OlderFramesUnknownStatesAndUnknownFieldsAreRead) {
  const Frame older = frame_of(golden("capabilities_of_0_2_1"));
  EXPECT_EQ(older.status, "capabilities");
  EXPECT_EQ(older.text("name"), "");
  const Frame unknown = frame_of(golden("unknown_status_and_fields"));
  EXPECT_EQ(unknown.status, "hibernating");
  EXPECT_EQ(unknown.number("b"), 1.5);
  expect_flag(unknown, "c", true);
  EXPECT_EQ(frame_of(R"({"status":"ready"})").status, "ready");  // 09 §6: all else is optional
}

TEST(AdminFrames, AFieldOfAnotherTypeOrNoneGivesTheDefault) {
  const Frame frame = frame_of(R"({"n":"5","s":5,"status":"loading_model","x":null})");
  EXPECT_EQ(frame.number("n", -1), -1);
  EXPECT_EQ(frame.number("absent", 7), 7);
  EXPECT_EQ(frame.number("absent"), 0);
  EXPECT_EQ(frame.number("x", 3), 3);
  EXPECT_EQ(frame.text("s"), "");
  EXPECT_EQ(frame.text("absent"), "");
}

// Spec 01 §2.1 and §2.3 ("all surfaces"), 09 §6 ("Required: `status` string")
TEST(AdminFrames, WhatIsNoAdminFrameIsAnError) {
  for (const char* line : {"", "\n", "nonsense", "[]", "{}", "null", "\"ready\"", R"({"id":"admin","type":"status"})", R"({"status":null})",
                           R"({"status":5})", R"({"status":["ready"]})", R"({"Status":"ready"})", R"({"status":"ready"}{"status":"ready"})",
                           R"({"status":"ready")", "{\"status\":\"\xFF\"}"}) {
    EXPECT_FALSE(decode_frame(line)) << line;
  }
}

// Spec 01 §2.3 ("all surfaces"): a duplicate known field is a decode error
TEST(AdminFrames, ADoubledFieldIsAnError) {
  EXPECT_FALSE(decode_frame(R"({"status":"ready","status":"draining"})"));
  EXPECT_FALSE(decode_frame(R"({"phase":"mmap","phase":"mmap","status":"loading_model"})"));
}

// 09 §6: "`id`, `type`, `phase` must be strings if present (null fails)"; architecture §5: a wrong type is never a default
TEST(AdminFrames, IdTypeAndPhaseAreStringsIfTheyAreThere) {
  for (const char* field : {"id", "type", "phase"}) {
    for (const char* value : {"null", "5", "true", "[]", "{}"}) {
      const std::string line = "{\"" + std::string(field) + "\":" + value + ",\"status\":\"ready\"}";
      EXPECT_FALSE(decode_frame(line)) << line;
    }
  }
}

TEST(AdminFrames, NumbersAreWrittenInFull) {
  const std::string frame =
      encode(phase("download", {{"downloaded_bytes", uint64_t{9007199254740993}}, {"total_bytes", uint64_t{18446744073709551615u}}}));
  EXPECT_EQ(frame, R"({"downloaded_bytes":9007199254740993,"id":"admin","phase":"download","status":"loading_model",)"
                   R"("total_bytes":18446744073709551615,"type":"status"})" "\n");
}

// Spec 01 §1 (UTF-8) and 04 §2: a path of Linux is any bytes; a frame with one has to stay a frame that clients can read
TEST(AdminFrames, APathThatIsNoUtf8StillGivesAFrameThatCanBeRead) {
  for (const char* path : {"/m\xFF.gguf", "/\xE2\x82", "/\xED\xA0\x80/x"}) {
    const StatusEvent events[] = {phase("mmap", {{"path", path}}),
                                  {.state = State::kError, .phase = {}, .reason = std::string("model file ") + path}};
    for (const StatusEvent& event : events) {
      const std::string frame = encode(event);
      EXPECT_TRUE(is_valid_utf8(frame)) << frame;
      EXPECT_TRUE(decode_frame(frame)) << frame;
      EXPECT_EQ(frame.find('\n') + 1, frame.size());
    }
  }
}

TEST(AdminFrames, DamagedFramesAreErrorsOrFramesWithAStatus) {
  std::vector<std::string> frames;
  for (const auto& entry : fs::directory_iterator(kGolden)) frames.push_back(golden(entry.path().stem()));
  std::ranges::sort(frames);
  std::mt19937 random(1);
  int read = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string line = frames[i % frames.size()];
    for (size_t left = 1 + random() % 3; left > 0 && !line.empty(); --left) {
      const size_t at = random() % line.size();
      switch (random() % 4) {
        case 0: line[at] = static_cast<char>(line[at] ^ (1 << random() % 8)); break;
        case 1: line.erase(at, random() % 8); break;
        case 2: line.insert(at, line.substr(random() % line.size(), 6)); break;
        default: line.insert(at, std::string(1, "{}[],:\"\\0e."[random() % 11]));
      }
    }
    const auto frame = decode_frame(line);
    if (!frame) {
      EXPECT_TRUE(is_valid_utf8(frame.error().message)) << line;
      continue;
    }
    ++read;
    EXPECT_FALSE(frame->status.empty()) << line;
    EXPECT_TRUE(is_valid_utf8(frame->status)) << line;
  }
  EXPECT_GT(read, 1'000);
}

}  // namespace
}  // namespace inferd::wire::admin
