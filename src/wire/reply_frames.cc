#include "wire/reply_frames.h"

#include <utility>

#include "base/json_text.h"
#include "base/utf8.h"
#include "request/limits.h"
#include "wire/error_code.h"

namespace inferd::wire {

void append_error(std::string& out, std::string_view id, Code code, std::string_view message) {
  out += "{\"type\":\"error\",\"id\":";
  append_json_text(out, id);
  out += ",\"code\":\"";
  out += error_code_name(code);
  out += "\",\"message\":";
  append_json_text(out, to_valid_utf8(message));
  out += "}\n";
}

void append_frame_too_large(std::string& out) {
  append_error(out, "", Code::kFrameTooLarge, "frame exceeds " + std::to_string(kMaxFrameBytes) + " byte cap");
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

Status end_frame(std::string& out, size_t begin) {
  out += "}\n";
  const size_t bytes = out.size() - begin - 1;
  if (bytes < kMaxFrameBytes) return {};
  out.resize(begin);
  return fail(Code::kFrameTooLarge,
              "the answer's frame has " + std::to_string(bytes) + " bytes, below " + std::to_string(kMaxFrameBytes) + " are possible");
}

Result<OpenReply> open_reply(const JsonDocument& document, std::span<const std::string_view> known) {
  auto fields = JsonFields::of(document.root(), "", known);
  if (!fields) return std::unexpected(std::move(fields.error()));
  OpenReply reply{std::move(*fields), {}, {}};
  if (!reply.fields.text(reply_field::kType, reply.type, true) || !reply.fields.text(reply_field::kId, reply.id, true)) {
    return std::unexpected(reply.fields.error());
  }
  return reply;
}

Result<Failure> read_failure(OpenReply& reply) {
  std::string code, message;
  if (!reply.fields.text(reply_field::kCode, code, true) || !reply.fields.text(reply_field::kMessage, message, true)) {
    return std::unexpected(reply.fields.error());
  }
  const auto known = error_code_from_name(code);
  if (!known) return fail(Code::kInvalidRequest, "unknown error code `" + code + "`");
  return Failure{std::move(reply.id), Error{*known, std::move(message)}};
}

Result<StatusFrame> read_status(OpenReply& reply) {
  JsonFields& fields = reply.fields;
  StatusFrame status{std::move(reply.id), {}};
  if (!fields.text(reply_field::kStatus, status.status, true) || !fields.unsigned_number(reply_field::kPosition, UINT32_MAX, status.position) ||
      !fields.unsigned_number(reply_field::kPromptTokensDone, UINT32_MAX, status.prompt_tokens_done) ||
      !fields.unsigned_number(reply_field::kPromptTokens, UINT32_MAX, status.prompt_tokens)) {
    return std::unexpected(fields.error());
  }
  return status;
}

void append_usage(std::string& out, const UsageNames& names, const Usage& usage) {
  const uint32_t values[] = {usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens};
  out += "\"usage\":{";
  for (size_t i = 0; i < names.size(); ++i) {
    out += i == 0 ? "\"" : ",\"";
    out += names[i];
    out += "\":";
    append_json_number(out, uint64_t{values[i]});
  }
  out += '}';
}

Result<Usage> read_usage(const OpenReply& reply, const UsageNames& names) {
  const auto value = reply.fields.find(reply_field::kUsage);
  if (!value) return fail(Code::kInvalidRequest, "missing field `usage`");
  auto fields = JsonFields::of(*value, "usage", names);
  if (!fields) return std::unexpected(std::move(fields.error()));
  Usage usage;
  std::optional<uint32_t> cached;
  if (!fields->required_u32(0, usage.prompt_tokens) || !fields->required_u32(1, usage.completion_tokens) || !fields->u32(2, cached)) {
    return std::unexpected(fields->error());
  }
  usage.cached_prompt_tokens = cached.value_or(0);
  return usage;
}

}  // namespace inferd::wire
