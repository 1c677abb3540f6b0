// What the requests of v1, v2 and embed have in common: how one is opened, and the fields that v1 and v2 share, each read, checked and
// written. Called by the codecs. Pure functions; any thread.
#pragma once

#include <array>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "request/generate.h"
#include "wire/decode_failure.h"
#include "wire/json_fields.h"
#include "wire/json_object_writer.h"
#include "wire/name_table.h"

namespace inferd::wire {

/// Parses `line` into `document` and reads `id`, the first of the `known` names. What comes back refers to `document`.
std::expected<JsonFields, DecodeFailure> open_request(JsonDocument& document, std::string_view line,
                                                      std::span<const std::string_view> known, std::string& id);

/// How every message of a validation begins (spec 01 §4).
std::unexpected<Error> refuse_request(std::string_view why);

namespace request_field {
enum : size_t { kId, kMessages, kTemperature, kTopP, kTopK, kMaxTokens, kStream, kSeed, kStop, kPriority, kLocalOnly, kProgress, kCount };
inline constexpr std::array<std::string_view, kCount> kNames = {"id",     "messages", "temperature", "top_p",    "top_k",      "max_tokens",
                                                                "stream", "seed",     "stop",        "priority", "local_only", "progress"};
}  // namespace request_field

inline constexpr std::array kRoles = {std::pair(Role::kSystem, std::string_view("system")), std::pair(Role::kUser, std::string_view("user")),
                                      std::pair(Role::kAssistant, std::string_view("assistant"))};

/// All shared fields but `id` and `messages`; `fields` begins with request_field::kNames. What is absent stays absent.
Status read_shared_fields(JsonFields& fields, GenerateRequest& request);
Result<Role> read_role(JsonFields& fields, size_t field);

/// The stop strings and the priority (spec README 3 and 6). Errors are kInvalidRequest.
Status check_shared_fields(const GenerateRequest& request);

// What is absent is left out, `stream` where it is true. They stand apart because v1 and v2 have keys of their own between them.
void append_sampling(JsonObjectWriter& object, const Sampling& sampling, const std::optional<uint32_t>& max_tokens, bool stream);
void append_additive_fields(JsonObjectWriter& object, const GenerateRequest& request);

}  // namespace inferd::wire
