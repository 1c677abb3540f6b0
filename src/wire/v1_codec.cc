#include "wire/v1_codec.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/json_text.h"
#include "request/limits.h"
#include "wire/json_fields.h"
#include "wire/name_table.h"
#include "wire/request_fields.h"

namespace inferd::wire::v1 {
namespace {

using namespace std::string_view_literals;

// The names that v1 alone has stand behind the shared ones; the enums are their places.
constexpr auto kRequestFields = field_names(request_field::kNames, std::array{"grammar"sv, "image_token_budget"sv});
enum RequestField : size_t { kGrammar = request_field::kCount, kImageTokenBudget };
constexpr std::array kMessageFields = {"role"sv, "content"sv};
enum MessageField : size_t { kRole, kContent };
constexpr auto kReplyFields = field_names(reply_field::kNames, std::array{"content"sv});
enum ReplyField : size_t { kText = reply_field::kCount };
constexpr UsageNames kUsageNames = {"prompt_tokens", "completion_tokens", "cached_prompt_tokens"};

constexpr std::array kStopReasons = {std::pair(StopReason::kEnd, "end"sv), std::pair(StopReason::kLength, "length"sv),
                                     std::pair(StopReason::kCancelled, "cancelled"sv), std::pair(StopReason::kError, "error"sv)};
constexpr std::array kBudgets = {70u, 140u, 280u, 560u, 1120u};

Result<Message> decode_message(JsonValue value, size_t index) {
  auto fields = JsonFields::of(value, "messages[" + std::to_string(index) + "]", kMessageFields);
  if (!fields) return std::unexpected(std::move(fields.error()));
  const auto role = read_role(*fields, kRole);
  if (!role) return std::unexpected(role.error());
  std::string content;
  if (!fields->text(kContent, content, true)) return std::unexpected(fields->error());
  return text_message(*role, std::move(content));
}

Status decode_fields(JsonFields& fields, GenerateRequest& request) {
  if (auto read = read_shared_fields(fields, request); !read) return read;
  if (!fields.text(kGrammar, request.grammar, false) || !fields.u32(kImageTokenBudget, request.image_token_budget)) {
    return std::unexpected(fields.error());
  }
  Sampling& sampling = request.sampling;
  sampling.temperature = sampling.temperature.value_or(kDefaultTemperature);
  sampling.top_p = sampling.top_p.value_or(kDefaultTopP);
  sampling.top_k = sampling.top_k.value_or(kDefaultTopK);
  request.max_tokens = request.max_tokens.value_or(kDefaultMaxTokens);

  const auto messages = fields.array(request_field::kMessages, true);
  if (!messages) return std::unexpected(fields.error());
  request.messages.reserve(messages->size());
  for (const JsonValue value : *messages) {
    auto message = decode_message(value, request.messages.size());
    if (!message) return std::unexpected(std::move(message.error()));
    request.messages.push_back(std::move(*message));
  }
  return {};
}

// Absent where it says nothing that the server would not take anyway.
template <class T>
std::optional<T> if_differs(const std::optional<T>& value, T standard) {
  return value == standard ? std::nullopt : value;
}

}  // namespace

std::variant<GenerateRequest, DecodeFailure> decode_request(std::string_view line) {
  thread_local JsonDocument reused;
  JsonDocument large;  // its memory goes back at once
  GenerateRequest request;
  auto fields = open_request(line.size() > kInlineParseBytes ? large : reused, line, kRequestFields, request.id);
  if (!fields) return std::move(fields.error());
  if (auto decoded = decode_fields(*fields, request); !decoded) return DecodeFailure{std::move(request.id), decoded.error().message};
  return request;
}

Status validate(const GenerateRequest& request) {
  if (request.messages.empty()) return refuse_request("messages must not be empty");
  if (request.image_token_budget && std::ranges::find(kBudgets, *request.image_token_budget) == kBudgets.end()) {
    return refuse_request("image_token_budget " + std::to_string(*request.image_token_budget) + " not in [70, 140, 280, 560, 1120]");
  }
  return check_shared_fields(request);
}

void append_request(std::string& out, const GenerateRequest& request) {
  JsonObjectWriter object(out);
  if (!request.id.empty()) object.text("id", request.id);
  object.key("messages") += '[';
  for (const Message& message : request.messages) {
    if (out.back() != '[') out += ',';
    JsonObjectWriter written(out);
    written.text("role", name_of(kRoles, message.role));
    std::string content;
    for (const Block& block : message.content) {
      if (const auto* text = std::get_if<TextBlock>(&block.held)) content += text->text;
    }
    written.text("content", content);
    written.end();
  }
  out += ']';
  Sampling sampling = request.sampling;
  sampling.temperature = if_differs(sampling.temperature, kDefaultTemperature);
  sampling.top_p = if_differs(sampling.top_p, kDefaultTopP);
  sampling.top_k = if_differs(sampling.top_k, kDefaultTopK);
  append_sampling(object, sampling, if_differs(request.max_tokens, kDefaultMaxTokens), request.stream);
  if (request.image_token_budget) object.natural("image_token_budget", *request.image_token_budget);
  if (!request.grammar.empty()) object.text("grammar", request.grammar);
  append_additive_fields(object, request);
  object.end();
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
  out += "{\"type\":\"done\",\"id\":";
  append_json_text(out, id);
  out += ",\"content\":";
  append_json_text(out, content);
  out += ',';
  append_usage(out, kUsageNames, completion.usage);
  out += ",\"stop_reason\":\"";
  out += stop_reason_name(completion.stop_reason);
  out += "\",\"backend\":";
  append_json_text(out, backend);
  out += ",\"route\":";
  append_json_text(out, route);
  return end_frame(out, begin);
}

std::string_view stop_reason_name(StopReason reason) {
  if (reason == StopReason::kToolUse || reason == StopReason::kStopSequence) reason = StopReason::kEnd;
  return name_of(kStopReasons, reason);
}

bool is_terminal(const Response& response) {
  return std::holds_alternative<Done>(response) || std::holds_alternative<Failure>(response);
}

Result<Response> decode_response(std::string_view line) {
  JsonDocument document;
  if (auto parsed = document.parse(line); !parsed) return std::unexpected(std::move(parsed.error()));
  auto reply = open_reply(document, kReplyFields);
  if (!reply) return std::unexpected(std::move(reply.error()));
  JsonFields& fields = reply->fields;
  if (reply->type == "token") {
    Token token{std::move(reply->id), {}};
    if (!fields.text(kText, token.content, true)) return std::unexpected(fields.error());
    return token;
  }
  if (reply->type == "error") return read_failure(*reply);
  if (reply->type == "status") return read_status(*reply);
  if (reply->type != "done") return fail(Code::kInvalidRequest, "unknown frame type `" + reply->type + "`");
  Done done{.id = std::move(reply->id), .content = {}, .completion = {}, .backend = {}, .route = {}};
  std::string stop_reason;
  if (!fields.text(kText, done.content, true) || !fields.text(reply_field::kStopReason, stop_reason, true) ||
      !fields.text(reply_field::kBackend, done.backend, true) || !fields.text(reply_field::kRoute, done.route, false)) {
    return std::unexpected(fields.error());
  }
  const auto reason = value_of(kStopReasons, stop_reason);
  if (!reason) return fail(Code::kInvalidRequest, unknown_variant("stop_reason", kStopReasons, stop_reason));
  done.completion.stop_reason = *reason;
  auto usage = read_usage(*reply, kUsageNames);
  if (!usage) return std::unexpected(std::move(usage.error()));
  done.completion.usage = *usage;
  return done;
}

}  // namespace inferd::wire::v1
