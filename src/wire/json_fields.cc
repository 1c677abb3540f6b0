#include "wire/json_fields.h"

#include <algorithm>
#include <cassert>
#include <cmath>

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

bool JsonFields::missing(size_t field) {
  if (!error_) error_ = Error{Code::kInvalidRequest, "missing field `" + path_of(field) + "`"};
  return false;
}

bool JsonFields::text(size_t field, std::string& out, bool required) {
  const auto& value = find(field);
  if (!value) return required ? missing(field) : true;
  if (value->type() != Type::kString) return wrong(known_[field], "a string");
  out = value->text();
  return true;
}

bool JsonFields::optional_text(size_t field, std::optional<std::string>& out) {
  const auto& value = find(field);
  if (!value || value->is_null()) return true;
  return text(field, out.emplace(), false);
}

bool JsonFields::texts(size_t field, std::vector<std::string>& out, bool required) {
  const auto& value = find(field);
  if (!value) return required ? missing(field) : true;
  if (value->is_null() && !required) return true;
  if (value->type() != Type::kArray) return wrong(known_[field], "an array of strings");
  for (const JsonValue element : *value) {
    if (element.type() != Type::kString) return wrong(std::string(known_[field]) + "[" + std::to_string(out.size()) + "]", "a string");
    out.emplace_back(element.text());
  }
  return true;
}

bool JsonFields::number(size_t field, std::optional<double>& out) {
  const auto& value = find(field);
  if (!value || value->is_null()) return true;
  if (value->type() != Type::kInteger && value->type() != Type::kUnsigned && value->type() != Type::kDouble) {
    return wrong(known_[field], "a number");
  }
  if (!std::isfinite(value->number())) return wrong(known_[field], "a number within the range of a double");
  out = value->number();
  return true;
}

bool JsonFields::unsigned_number(size_t field, uint64_t max, std::optional<uint64_t>& out) {
  const auto& value = find(field);
  if (!value || value->is_null()) return true;
  uint64_t number = 0;
  if (!value->unsigned_within(max, number)) return wrong(known_[field], "an integer from 0 to " + std::to_string(max));
  out = number;
  return true;
}

bool JsonFields::u32(size_t field, std::optional<uint32_t>& out) {
  std::optional<uint64_t> number;
  if (!unsigned_number(field, UINT32_MAX, number)) return false;
  if (number) out = static_cast<uint32_t>(*number);
  return true;
}

bool JsonFields::required_u32(size_t field, uint32_t& out) {
  std::optional<uint32_t> number;
  if (!u32(field, number)) return false;
  if (!number) return missing(field);
  out = *number;
  return true;
}

bool JsonFields::boolean(size_t field, bool& out) {
  const auto& value = find(field);
  if (!value || value->is_null()) return true;
  if (value->type() != Type::kBool) return wrong(known_[field], "true or false");
  out = value->boolean();
  return true;
}

std::optional<JsonValue> JsonFields::array(size_t field, bool required) {
  const auto& value = find(field);
  if (!value) {
    if (required) missing(field);
    return std::nullopt;
  }
  if (value->type() != Type::kArray) {
    wrong(known_[field], "an array");
    return std::nullopt;
  }
  return value;
}

}  // namespace inferd::wire
