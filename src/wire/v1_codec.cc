#include "wire/v1_codec.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/json_text.h"
#include "base/utf8.h"
#include "request/limits.h"
#include "wire/error_code.h"
#include "wire/json_fields.h"

namespace inferd::wire::v1 {
namespace {

using namespace std::string_view_literals;

constexpr std::array kRequestFields = {"id"sv,        "messages"sv, "temperature"sv,        "top_p"sv,   "top_k"sv, "max_tokens"sv,
                                       "stream"sv,    "grammar"sv,  "image_token_budget"sv, "seed"sv,    "stop"sv,  "priority"sv,
                                       "local_only"sv, "progress"sv};
constexpr std::array kMessageFields = {"role"sv, "content"sv};
constexpr std::array kResponseFields = {"type"sv, "id"sv,      "content"sv, "usage"sv,  "stop_reason"sv,
                                        "code"sv, "message"sv, "status"sv,  "backend"sv, "route"sv,
                                        "position"sv, "prompt_tokens_done"sv, "prompt_tokens"sv};
constexpr std::array kUsageFields = {"prompt_tokens"sv, "completion_tokens"sv, "cached_prompt_tokens"sv};

// The places of these names.
enum RequestField { kId, kMessages, kTemperature, kTopP, kTopK, kMaxTokens, kStream, kGrammar, kImageTokenBudget, kSeed, kStop, kPriority, kLocalOnly, kProgress };
enum MessageField { kRole, kContent };
enum ResponseField { kType, kResponseId, kText, kUsage, kStopReason, kCode, kMessage, kStatus, kBackend, kRoute,
                     kPosition, kFramePromptTokensDone, kFramePromptTokens };
enum UsageField { kPromptTokens, kCompletionTokens, kCachedPromptTokens };

constexpr std::array kRoles = {std::pair(Role::kSystem, "system"sv), std::pair(Role::kUser, "user"sv),
                               std::pair(Role::kAssistant, "assistant"sv)};
constexpr std::array kPriorities = {std::pair(Priority::kInteractive, "interactive"sv), std::pair(Priority::kBatch, "batch"sv)};
constexpr std::array kStopReasons = {std::pair(StopReason::kEnd, "end"sv), std::pair(StopReason::kLength, "length"sv),
                                     std::pair(StopReason::kCancelled, "cancelled"sv), std::pair(StopReason::kError, "error"sv)};
constexpr std::array kBudgets = {70u, 140u, 280u, 560u, 1120u};
constexpr uint64_t kMaxU32 = 0xFFFFFFFF;

template <class Table, class Value>
std::string_view name_of(const Table& table, Value value) {
  for (const auto& [known, name] : table) {
    if (known == value) return name;
  }
  return {};
}

template <class Table>
std::optional<typename Table::value_type::first_type> value_of(const Table& table, std::string_view text) {
  for (const auto& [value, name] : table) {
    if (name == text) return value;
  }
  return std::nullopt;
}

// serde's wording, which people who debug clients of the published daemon know.
template <class Table>
std::string unknown_variant(const std::string& path, const Table& table, std::string_view text) {
  std::string message = "field `" + path + "`: unknown variant `" + std::string(cut_utf8(text, 64)) + "`, expected one of ";
  for (const auto& [value, name] : table) message += (value == table.front().first ? "`" : ", `") + std::string(name) + "`";
  return message;
}

Error invalid(std::string message) { return Error{Code::kInvalidRequest, std::move(message)}; }

Result<Message> decode_message(JsonValue value, size_t index) {
  auto fields = JsonFields::of(value, "messages[" + std::to_string(index) + "]", kMessageFields);
  if (!fields) return std::unexpected(fields.error());
  Message message;
  std::string role;
  if (!fields->text(kRole, role, true) || !fields->text(kContent, message.content, true)) return std::unexpected(fields->error());
  const auto known = value_of(kRoles, role);
  if (!known) return std::unexpected(invalid(unknown_variant(fields->path_of(kRole), kRoles, role)));
  message.role = *known;
  return message;
}

Status decode_fields(JsonFields& fields, GenerateRequest& request) {
  const auto narrow = [](const std::optional<uint64_t>& from, auto& to) {
    if (from) to = static_cast<uint32_t>(*from);
  };
  std::optional<uint64_t> top_k, max_tokens, budget, seed;
  const bool scalars = fields.number(kTemperature, request.sampling.temperature) && fields.number(kTopP, request.sampling.top_p) &&
                       fields.unsigned_number(kTopK, kMaxU32, top_k) && fields.unsigned_number(kMaxTokens, kMaxU32, max_tokens) &&
                       fields.boolean(kStream, request.stream) && fields.unsigned_number(kImageTokenBudget, kMaxU32, budget) &&
                       fields.text(kGrammar, request.grammar, false) && fields.unsigned_number(kSeed, kMaxU32, seed) &&
                       fields.boolean(kLocalOnly, request.local_only) && fields.boolean(kProgress, request.progress);
  if (!scalars) return std::unexpected(fields.error());
  narrow(top_k, request.sampling.top_k);
  narrow(max_tokens, request.max_tokens);
  narrow(budget, request.image_token_budget);
  narrow(seed, request.sampling.seed);

  const auto messages = fields.array(kMessages, true);
  if (!messages) return std::unexpected(fields.error());
  request.messages.reserve(messages->size());
  for (const JsonValue value : *messages) {
    auto message = decode_message(value, request.messages.size());
    if (!message) return std::unexpected(message.error());
    request.messages.push_back(std::move(*message));
  }
  if (const auto stop = fields.find(kStop); stop && !stop->is_null()) {
    if (stop->type() != JsonValue::Type::kArray) {
      fields.wrong("stop", "an array of strings");
      return std::unexpected(fields.error());
    }
    for (const JsonValue value : *stop) {
      if (value.type() != JsonValue::Type::kString) {
        fields.wrong("stop[" + std::to_string(request.stop.size()) + "]", "a string");
        return std::unexpected(fields.error());
      }
      request.stop.emplace_back(value.text());
    }
  }
  return {};
}

Status end_frame(std::string& out, size_t begin) {
  out += "}\n";
  const size_t bytes = out.size() - begin - 1;
  if (bytes < kMaxFrameBytes) return {};
  out.resize(begin);
  return fail(Code::kFrameTooLarge, "the answer's frame has " + std::to_string(bytes) + " bytes, below " + std::to_string(kMaxFrameBytes) + " are possible");
}

// The id of a frame with another, doubled field.
std::string readable_id(JsonValue root) {
  static constexpr std::array kId = {"id"sv};
  std::string id;
  if (auto fields = JsonFields::of(root, "", kId)) fields->text(0, id, false);
  return id;
}

}  // namespace

std::variant<GenerateRequest, DecodeFailure> decode_request(std::string_view line) {
  thread_local JsonDocument document;
  if (auto parsed = document.parse(line); !parsed) return DecodeFailure{"", parsed.error().message};
  GenerateRequest request;
  auto fields = JsonFields::of(document.root(), "", kRequestFields);
  if (!fields) return DecodeFailure{readable_id(document.root()), fields.error().message};
  if (!fields->text(kId, request.id, false)) return DecodeFailure{"", fields->error().message};
  if (auto decoded = decode_fields(*fields, request); !decoded) return DecodeFailure{std::move(request.id), decoded.error().message};
  // An unknown priority is a wrong value of the right type: the connection stays open, so validate() has to see it.
  std::string priority;
  if (const auto value = fields->find(kPriority); value && !value->is_null()) {
    if (!fields->text(kPriority, priority, false)) return DecodeFailure{std::move(request.id), fields->error().message};
    request.priority = value_of(kPriorities, priority).value_or(Priority::kUnknown);
  }
  return request;
}

Status validate(const GenerateRequest& request) {
  const auto refuse = [](const std::string& why) { return fail(Code::kInvalidRequest, "invalid request: " + why); };
  if (request.messages.empty()) return refuse("messages must not be empty");
  if (request.image_token_budget && std::ranges::find(kBudgets, *request.image_token_budget) == kBudgets.end()) {
    return refuse("image_token_budget " + std::to_string(*request.image_token_budget) + " not in [70, 140, 280, 560, 1120]");
  }
  if (request.stop.size() > kMaxStopStrings) {
    return refuse("stop has " + std::to_string(request.stop.size()) + " strings, at most " + std::to_string(kMaxStopStrings) + " are allowed");
  }
  for (size_t i = 0; i < request.stop.size(); ++i) {
    if (request.stop[i].empty() || request.stop[i].size() > kMaxStopBytes) {
      return refuse("stop[" + std::to_string(i) + "] is " + std::to_string(request.stop[i].size()) + " bytes long, allowed are 1 to " +
                    std::to_string(kMaxStopBytes));
    }
  }
  if (request.priority == Priority::kUnknown) return refuse("priority must be `interactive` or `batch`");
  return {};
}

void append_request(std::string& out, const GenerateRequest& request) {
  const GenerateRequest standard;
  out += '{';
  const auto key = [&](std::string_view name) {
    if (out.back() != '{') out += ',';
    append_json_text(out, name);
    out += ':';
  };
  const auto flag = [&](std::string_view name, bool value) {
    key(name);
    out += value ? "true" : "false";
  };
  const auto natural = [&](std::string_view name, uint64_t value) {
    key(name);
    append_json_number(out, value);
  };
  if (!request.id.empty()) {
    key("id");
    append_json_text(out, request.id);
  }
  key("messages");
  out += '[';
  for (const Message& message : request.messages) {
    if (out.back() != '[') out += ',';
    out += "{\"role\":";
    append_json_text(out, name_of(kRoles, message.role));
    out += ",\"content\":";
    append_json_text(out, message.content);
    out += '}';
  }
  out += ']';
  if (request.sampling.temperature != standard.sampling.temperature) {
    key("temperature");
    append_json_number(out, request.sampling.temperature);
  }
  if (request.sampling.top_p != standard.sampling.top_p) {
    key("top_p");
    append_json_number(out, request.sampling.top_p);
  }
  if (request.sampling.top_k != standard.sampling.top_k) natural("top_k", request.sampling.top_k);
  if (request.max_tokens != standard.max_tokens) natural("max_tokens", request.max_tokens);
  if (!request.stream) flag("stream", false);
  if (request.image_token_budget) natural("image_token_budget", *request.image_token_budget);
  if (!request.grammar.empty()) {
    key("grammar");
    append_json_text(out, request.grammar);
  }
  if (request.sampling.seed) natural("seed", *request.sampling.seed);
  if (!request.stop.empty()) {
    key("stop");
    out += '[';
    for (const std::string& text : request.stop) {
      if (out.back() != '[') out += ',';
      append_json_text(out, text);
    }
    out += ']';
  }
  if (request.priority != Priority::kInteractive) {
    key("priority");
    append_json_text(out, name_of(kPriorities, request.priority));
  }
  if (request.local_only) flag("local_only", true);
  if (request.progress) flag("progress", true);
  out += '}';
}

Status append_token(std::string& out, std::string_view id, std::string_view content) {
  const size_t begin = out.size();
  out += "{\"type\":\"token\",\"id\":";
  append_json_text(out, id);
  out += ",\"content\":";
  append_json_text(out, content);
  return end_frame(out, begin);
}

Status append_done(std::string& out, std::string_view id, std::string_view content, const Completion& completion,
                 std::string_view backend, std::string_view route) {
  const size_t begin = out.size();
  const Usage& usage = completion.usage;
  out += "{\"type\":\"done\",\"id\":";
  append_json_text(out, id);
  out += ",\"content\":";
  append_json_text(out, content);
  out += ",\"usage\":{\"prompt_tokens\":";
  append_json_number(out, uint64_t{usage.prompt_tokens});
  out += ",\"completion_tokens\":";
  append_json_number(out, uint64_t{usage.completion_tokens});
  out += ",\"cached_prompt_tokens\":";
  append_json_number(out, uint64_t{usage.cached_prompt_tokens});
  out += "},\"stop_reason\":\"";
  out += stop_reason_name(completion.stop_reason);
  out += "\",\"backend\":";
  append_json_text(out, backend);
  out += ",\"route\":";
  append_json_text(out, route);
  return end_frame(out, begin);
}

void append_error(std::string& out, std::string_view id, Code code, std::string_view message) {
  out += "{\"type\":\"error\",\"id\":";
  append_json_text(out, id);
  out += ",\"code\":\"";
  out += error_code_name(code);
  out += "\",\"message\":";
  append_json_text(out, to_valid_utf8(message));
  out += "}\n";
}

void append_status(std::string& out, const StatusFrame& frame) {
  out += "{\"type\":\"status\",\"id\":";
  append_json_text(out, frame.id);
  out += ",\"status\":";
  append_json_text(out, frame.status);
  const auto number = [&](std::string_view key, const std::optional<uint64_t>& value) {
    if (!value) return;
    out += ",\"";
    out += key;
    out += "\":";
    append_json_number(out, *value);
  };
  number("position", frame.position);
  number("prompt_tokens_done", frame.prompt_tokens_done);
  number("prompt_tokens", frame.prompt_tokens);
  out += "}\n";
}

std::string_view stop_reason_name(StopReason reason) { return name_of(kStopReasons, reason); }

bool is_terminal(const Response& response) {
  return std::holds_alternative<Done>(response) || std::holds_alternative<Failure>(response);
}

Result<Response> decode_response(std::string_view line) {
  JsonDocument document;
  if (auto parsed = document.parse(line); !parsed) return std::unexpected(parsed.error());
  auto fields = JsonFields::of(document.root(), "", kResponseFields);
  if (!fields) return std::unexpected(fields.error());
  std::string type, id;
  if (!fields->text(kType, type, true) || !fields->text(kResponseId, id, true)) return std::unexpected(fields->error());
  if (type == "token") {
    Token token{std::move(id), {}};
    if (!fields->text(kText, token.content, true)) return std::unexpected(fields->error());
    return token;
  }
  if (type == "error") {
    std::string code, message;
    if (!fields->text(kCode, code, true) || !fields->text(kMessage, message, true)) return std::unexpected(fields->error());
    const auto known = error_code_from_name(code);
    if (!known) return fail(Code::kInvalidRequest, "unknown error code `" + code + "`");
    return Failure{std::move(id), Error{*known, std::move(message)}};
  }
  if (type == "status") {
    StatusFrame status{std::move(id), {}};
    if (!fields->text(kStatus, status.status, true) || !fields->unsigned_number(kPosition, kMaxU32, status.position) ||
        !fields->unsigned_number(kFramePromptTokensDone, kMaxU32, status.prompt_tokens_done) ||
        !fields->unsigned_number(kFramePromptTokens, kMaxU32, status.prompt_tokens)) {
      return std::unexpected(fields->error());
    }
    return status;
  }
  if (type != "done") return fail(Code::kInvalidRequest, "unknown frame type `" + type + "`");
  Done done{.id = std::move(id), .content = {}, .completion = {}, .backend = {}, .route = {}};
  std::string stop_reason;
  if (!fields->text(kText, done.content, true) || !fields->text(kStopReason, stop_reason, true) ||
      !fields->text(kBackend, done.backend, true) || !fields->text(kRoute, done.route, false)) {
    return std::unexpected(fields->error());
  }
  const auto reason = value_of(kStopReasons, stop_reason);
  if (!reason) return fail(Code::kInvalidRequest, unknown_variant("stop_reason", kStopReasons, stop_reason));
  done.completion.stop_reason = *reason;
  const auto usage_value = fields->find(kUsage);
  if (!usage_value) return fail(Code::kInvalidRequest, "missing field `usage`");
  auto usage = JsonFields::of(*usage_value, "usage", kUsageFields);
  if (!usage) return std::unexpected(usage.error());
  std::optional<uint64_t> prompt, completion, cached;
  if (!usage->unsigned_number(kPromptTokens, kMaxU32, prompt) || !usage->unsigned_number(kCompletionTokens, kMaxU32, completion) ||
      !usage->unsigned_number(kCachedPromptTokens, kMaxU32, cached)) {
    return std::unexpected(usage->error());
  }
  if (!prompt || !completion) return fail(Code::kInvalidRequest, "missing field in `usage`");
  done.completion.usage = {static_cast<uint32_t>(*prompt), static_cast<uint32_t>(*completion), static_cast<uint32_t>(cached.value_or(0))};
  return done;
}

}  // namespace inferd::wire::v1
