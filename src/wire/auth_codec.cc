#include "wire/auth_codec.h"

#include <array>

#include "base/json_text.h"
#include "wire/json_fields.h"

namespace inferd::wire {

std::optional<std::string> decode_auth(std::string_view line) {
  static constexpr std::array<std::string_view, 2> kFields = {"type", "key"};
  JsonDocument document;
  if (!document.parse(line)) return std::nullopt;
  auto fields = JsonFields::of(document.root(), "", kFields);
  std::string type, key;
  if (!fields || !fields->text(0, type, true) || !fields->text(1, key, true) || type != "auth") return std::nullopt;
  return key;
}

void append_auth(std::string& out, std::string_view key) {
  out += "{\"type\":\"auth\",\"key\":";
  append_json_text(out, key);
  out += "}\n";
}

}  // namespace inferd::wire
