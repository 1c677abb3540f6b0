#include "wire/request_fields.h"

#include <utility>

#include "request/limits.h"

namespace inferd::wire {
namespace {

constexpr std::array kPriorities = {std::pair(Priority::kInteractive, std::string_view("interactive")),
                                    std::pair(Priority::kBatch, std::string_view("batch"))};

// The id of a frame with another, doubled field.
std::string readable_id(JsonValue root) {
  static constexpr std::array<std::string_view, 1> kId = {"id"};
  std::string id;
  if (auto fields = JsonFields::of(root, "", kId)) fields->text(0, id, false);
  return id;
}

}  // namespace

std::expected<JsonFields, DecodeFailure> open_request(JsonDocument& document, std::string_view line,
                                                      std::span<const std::string_view> known, std::string& id) {
  if (auto parsed = document.parse(line); !parsed) return std::unexpected(DecodeFailure{"", std::move(parsed.error().message)});
  auto fields = JsonFields::of(document.root(), "", known);
  if (!fields) return std::unexpected(DecodeFailure{readable_id(document.root()), std::move(fields.error().message)});
  if (!fields->text(0, id, false)) return std::unexpected(DecodeFailure{"", fields->error().message});
  return std::move(*fields);
}

std::unexpected<Error> refuse_request(std::string_view why) { return fail(Code::kInvalidRequest, "invalid request: " + std::string(why)); }

Status read_shared_fields(JsonFields& fields, GenerateRequest& request) {
  using namespace request_field;
  std::optional<std::string> priority;
  const bool read = fields.number(kTemperature, request.sampling.temperature) && fields.number(kTopP, request.sampling.top_p) &&
                    fields.u32(kTopK, request.sampling.top_k) && fields.u32(kMaxTokens, request.max_tokens) &&
                    fields.boolean(kStream, request.stream) && fields.u32(kSeed, request.sampling.seed) &&
                    fields.texts(kStop, request.stop, false) && fields.optional_text(kPriority, priority) &&
                    fields.boolean(kLocalOnly, request.local_only) && fields.boolean(kProgress, request.progress);
  if (!read) return std::unexpected(fields.error());
  // An unknown priority is a wrong value of the right type: the connection stays open, so the check has to see it.
  if (priority) request.priority = value_of(kPriorities, *priority).value_or(Priority::kUnknown);
  return {};
}

Result<Role> read_role(JsonFields& fields, size_t field) {
  std::string role;
  if (!fields.text(field, role, true)) return std::unexpected(fields.error());
  const auto known = value_of(kRoles, role);
  if (!known) return fail(Code::kInvalidRequest, unknown_variant(fields.path_of(field), kRoles, role));
  return *known;
}

Status check_shared_fields(const GenerateRequest& request) {
  if (request.stop.size() > kMaxStopStrings) {
    return refuse_request("stop has " + std::to_string(request.stop.size()) + " strings, at most " + std::to_string(kMaxStopStrings) +
                          " are allowed");
  }
  for (size_t i = 0; i < request.stop.size(); ++i) {
    if (request.stop[i].empty() || request.stop[i].size() > kMaxStopBytes) {
      return refuse_request("stop[" + std::to_string(i) + "] is " + std::to_string(request.stop[i].size()) +
                            " bytes long, allowed are 1 to " + std::to_string(kMaxStopBytes));
    }
  }
  if (request.priority == Priority::kUnknown) return refuse_request("priority must be `interactive` or `batch`");
  return {};
}

void append_sampling(JsonObjectWriter& object, const Sampling& sampling, const std::optional<uint32_t>& max_tokens, bool stream) {
  if (sampling.temperature) object.real("temperature", *sampling.temperature);
  if (sampling.top_p) object.real("top_p", *sampling.top_p);
  if (sampling.top_k) object.natural("top_k", *sampling.top_k);
  if (max_tokens) object.natural("max_tokens", *max_tokens);
  if (!stream) object.flag("stream", false);
}

void append_additive_fields(JsonObjectWriter& object, const GenerateRequest& request) {
  if (request.sampling.seed) object.natural("seed", *request.sampling.seed);
  if (!request.stop.empty()) {
    std::string& out = object.key("stop");
    out += '[';
    for (const std::string& text : request.stop) {
      if (out.back() != '[') out += ',';
      append_json_text(out, text);
    }
    out += ']';
  }
  if (request.priority != Priority::kInteractive) object.text("priority", name_of(kPriorities, request.priority));
  if (request.local_only) object.flag("local_only", true);
  if (request.progress) object.flag("progress", true);
}

}  // namespace inferd::wire
