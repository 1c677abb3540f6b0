#include "ctl/embed_line.h"

#include <array>
#include <utility>

#include "base/utf8.h"
#include "wire/json_document.h"
#include "wire/json_fields.h"
#include "wire/json_value_text.h"

namespace inferd::ctl {
namespace {

using namespace std::string_view_literals;
using wire::JsonValue;

constexpr std::array kFields = {"text"sv, "id"sv};
enum Field : size_t { kText, kId };

std::unexpected<Error> wrong(std::string message) { return fail(Code::kUsage, std::move(message)); }

}  // namespace

Result<std::optional<EmbedLine>> parse_json_line(std::string_view line) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return std::nullopt;
  wire::JsonDocument document;
  if (const auto parsed = document.parse(line); !parsed) {
    return wrong("not JSON: " + parsed.error().message + " (for lines of plain text: --text)");
  }
  const JsonValue root = document.root();
  EmbedLine out;
  if (root.type() == JsonValue::Type::kString) {
    out.text = root.text();
  } else if (root.type() == JsonValue::Type::kObject) {
    auto fields = wire::JsonFields::of(root, "", kFields);
    if (!fields) return wrong(fields.error().message);
    if (!fields->text(kText, out.text, true)) return wrong(fields->error().message);
    if (const auto& id = fields->find(kId); id && !wire::append_json_value(out.id, *id, false)) {
      return wrong("field `id`: a number is beyond the range of a double");
    }
  } else {
    return wrong("expected a JSON string, or an object with \"text\"");
  }
  if (out.text.empty()) return wrong("the text is empty");
  return out;
}

Result<EmbedLine> parse_text_line(std::string_view line) {
  if (line.empty()) return wrong("the text is empty");
  if (!is_valid_utf8(line)) return wrong("not UTF-8");
  return EmbedLine{.text = std::string(line)};
}

}  // namespace inferd::ctl
