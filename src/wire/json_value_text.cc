#include "wire/json_value_text.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json_text.h"

namespace inferd::wire {
namespace {

struct Member {
  std::string_view key;
  JsonValue value;
  uint32_t place;
};

std::vector<Member> members_of(JsonValue object, bool sort_keys) {
  std::vector<Member> members;
  members.reserve(object.size());
  for (const JsonValue value : object) members.push_back({value.key(), value, static_cast<uint32_t>(members.size())});
  std::ranges::stable_sort(members, {}, &Member::key);
  size_t kept = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    if (kept > 0 && members[kept - 1].key == members[i].key) {
      members[kept - 1].value = members[i].value;
    } else {
      members[kept++] = members[i];
    }
  }
  members.erase(members.begin() + static_cast<std::ptrdiff_t>(kept), members.end());
  if (!sort_keys) std::ranges::sort(members, {}, &Member::place);
  return members;
}

bool append_double(std::string& out, double value) {
  if (value == 0 && std::signbit(value)) {
    out += "-0.0";  // "-0" would read back as the integer 0
  } else {
    append_json_number(out, value);
  }
  return std::isfinite(value);
}

}  // namespace

// Recursion: no deeper than kMaxJsonDepth, which the document keeps.
bool append_json_value(std::string& out, JsonValue value, bool sort_keys) {
  bool finite = true;
  switch (value.type()) {
    case JsonValue::Type::kNull: out += "null"; break;
    case JsonValue::Type::kBool: out += value.boolean() ? "true" : "false"; break;
    case JsonValue::Type::kInteger: append_json_number(out, value.integer()); break;
    case JsonValue::Type::kUnsigned: {
      uint64_t natural = 0;
      value.unsigned_within(UINT64_MAX, natural);
      append_json_number(out, natural);
      break;
    }
    case JsonValue::Type::kDouble: finite = append_double(out, value.number()); break;
    case JsonValue::Type::kString: append_json_text(out, value.text()); break;
    case JsonValue::Type::kArray:
      out += '[';
      for (const JsonValue element : value) {
        if (out.back() != '[') out += ',';
        finite &= append_json_value(out, element, sort_keys);
      }
      out += ']';
      break;
    case JsonValue::Type::kObject:
      out += '{';
      for (const Member& member : members_of(value, sort_keys)) {
        if (out.back() != '{') out += ',';
        append_json_text(out, member.key);
        out += ':';
        finite &= append_json_value(out, member.value, sort_keys);
      }
      out += '}';
      break;
  }
  return finite;
}

}  // namespace inferd::wire
