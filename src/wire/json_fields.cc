#include "wire/json_fields.h"

#include <algorithm>
#include <cassert>

namespace inferd::wire {

using Type = JsonValue::Type;

Result<JsonFields> JsonFields::of(JsonValue object, std::string path, std::span<const std::string_view> known) {
  assert(known.size() <= kMaxKnown);
  if (object.type() != Type::kObject) {
    return fail(Code::kInvalidRequest, (path.empty() ? "the frame" : "`" + path + "`") + std::string(": expected an object"));
  }
  JsonFields fields(std::move(path));
  fields.known_ = known;
  for (const JsonValue member : object) {
    const auto at = std::ranges::find(known, member.key());
    if (at == known.end()) continue;
    auto& slot = fields.values_[static_cast<size_t>(at - known.begin())];
    if (slot) return fail(Code::kInvalidRequest, "duplicate field `" + fields.path_of(*at) + "`");
    slot = member;
  }
  return fields;
}

std::string JsonFields::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

bool JsonFields::wrong(std::string_view name, std::string_view expected) {
  if (!error_) error_ = Error{Code::kInvalidRequest, "invalid type: field `" + path_of(name) + "`: expected " + std::string(expected)};
  return false;
}

bool JsonFields::missing(std::string_view name) {
  if (!error_) error_ = Error{Code::kInvalidRequest, "missing field `" + path_of(name) + "`"};
  return false;
}

std::optional<JsonValue> JsonFields::find(std::string_view name) const {
  const auto at = std::ranges::find(known_, name);
  assert(at != known_.end());
  return values_[static_cast<size_t>(at - known_.begin())];
}

bool JsonFields::text(std::string_view name, std::string& out, bool required) {
  const auto value = find(name);
  if (!value) return required ? missing(name) : true;
  if (value->type() != Type::kString) return wrong(name, "a string");
  out = value->text();
  return true;
}

bool JsonFields::number(std::string_view name, double& out) {
  const auto value = find(name);
  if (!value || value->is_null()) return true;
  if (value->type() != Type::kInteger && value->type() != Type::kUnsigned && value->type() != Type::kDouble) {
    return wrong(name, "a number");
  }
  out = value->number();
  return true;
}

bool JsonFields::unsigned_number(std::string_view name, uint64_t max, std::optional<uint64_t>& out) {
  const auto value = find(name);
  if (!value || value->is_null()) return true;
  uint64_t number = 0;
  if (!value->unsigned_within(max, number)) return wrong(name, "an integer from 0 to " + std::to_string(max));
  out = number;
  return true;
}

bool JsonFields::boolean(std::string_view name, bool& out) {
  const auto value = find(name);
  if (!value || value->is_null()) return true;
  if (value->type() != Type::kBool) return wrong(name, "true or false");
  out = value->boolean();
  return true;
}

std::optional<JsonValue> JsonFields::array(std::string_view name, bool required) {
  const auto value = find(name);
  if (!value) {
    if (required) missing(name);
    return std::nullopt;
  }
  if (value->type() != Type::kArray) {
    wrong(name, "an array");
    return std::nullopt;
  }
  return value;
}

}  // namespace inferd::wire
