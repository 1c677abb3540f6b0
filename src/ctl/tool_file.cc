#include "ctl/tool_file.h"

#include <array>
#include <utility>

#include "os/input_file.h"
#include "wire/json_document.h"
#include "wire/json_fields.h"
#include "wire/json_value_text.h"

namespace inferd::ctl {
namespace {

using namespace std::string_view_literals;
using wire::JsonValue;

constexpr size_t kMaxFileBytes = 4u << 20;
constexpr std::array kToolFields = {"name"sv, "description"sv, "input_schema"sv};
enum ToolField : size_t { kName, kDescription, kInputSchema };
constexpr std::string_view kToolForm = R"(expected {"name":TEXT,"description":TEXT,"input_schema":{...}} or an array of such objects)";

std::unexpected<Error> wrong(const std::string& name, const std::string& what) { return fail(Code::kUsage, name + ": " + what); }

Status parse_file(wire::JsonDocument& document, std::string_view text, const std::string& name) {
  const auto parsed = document.parse(text);
  return parsed ? Status() : wrong(name, "not JSON: " + parsed.error().message);
}

Result<std::string> schema_of(JsonValue value, const std::string& name, const std::string& where) {
  std::string text;
  if (value.type() != JsonValue::Type::kObject) return wrong(name, where + "expected a JSON schema, an object");
  if (!wire::append_json_value(text, value, false)) return wrong(name, where + "a number is beyond the range of a double");
  return text;
}

// `path` is where the tool stands in the file: empty or "[0]".
Result<client::ToolDeclaration> tool_of(JsonValue value, const std::string& name, const std::string& path) {
  const auto refuse = [&](const Error& error) { return wrong(name, error.message + " (" + std::string(kToolForm) + ")"); };
  auto fields = wire::JsonFields::of(value, path, kToolFields);
  if (!fields) return refuse(fields.error());
  client::ToolDeclaration tool;
  if (!fields->text(kName, tool.name, true) || !fields->text(kDescription, tool.description, true)) return refuse(fields->error());
  if (!fields->find(kInputSchema)) {
    fields->missing(kInputSchema);
    return refuse(fields->error());
  }
  auto schema = schema_of(*fields->find(kInputSchema), name, "field `" + fields->path_of(kInputSchema) + "`: ");
  if (!schema) return std::unexpected(schema.error());
  tool.input_schema = std::move(*schema);
  return tool;
}

}  // namespace

Result<std::vector<client::ToolDeclaration>> parse_tools(std::string_view text, const std::string& name) {
  wire::JsonDocument document;
  if (auto parsed = parse_file(document, text, name); !parsed) return std::unexpected(parsed.error());
  std::vector<client::ToolDeclaration> tools;
  const auto take = [&](JsonValue value, const std::string& path) -> Status {
    auto tool = tool_of(value, name, path);
    if (!tool) return std::unexpected(tool.error());
    tools.push_back(std::move(*tool));
    return {};
  };
  if (document.root().type() == JsonValue::Type::kObject) {
    if (auto taken = take(document.root(), ""); !taken) return std::unexpected(taken.error());
  } else if (document.root().type() == JsonValue::Type::kArray) {
    for (const JsonValue value : document.root()) {
      if (auto taken = take(value, "[" + std::to_string(tools.size()) + "]"); !taken) return std::unexpected(taken.error());
    }
  }
  if (tools.empty()) return wrong(name, "no tool in it: " + std::string(kToolForm));
  return tools;
}

Result<std::string> parse_schema(std::string_view text, const std::string& name) {
  wire::JsonDocument document;
  if (auto parsed = parse_file(document, text, name); !parsed) return std::unexpected(parsed.error());
  return schema_of(document.root(), name, "");
}

Result<std::vector<client::ToolDeclaration>> read_tools(const std::filesystem::path& path) {
  const auto text = os::read_stream(path, kMaxFileBytes);
  if (!text) return std::unexpected(text.error());
  return parse_tools(*text, path.string());
}

Result<std::string> read_schema(const std::filesystem::path& path) {
  const auto text = os::read_stream(path, kMaxFileBytes);
  if (!text) return std::unexpected(text.error());
  return parse_schema(*text, path.string());
}

}  // namespace inferd::ctl
