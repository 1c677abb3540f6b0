#include "engine/callable_tools.h"

#include <exception>
#include <nlohmann/json.hpp>

#include "request/limits.h"

namespace inferd::engine {
namespace {

using Mode = ToolChoice::Mode;

Mode mode_of(const GenerateRequest& request) { return request.tool_choice ? request.tool_choice->mode : Mode::kAuto; }

Result<std::string> arguments_schema(const std::string& text, const std::string& place) {
  if (text.size() > kMaxGrammarBytes) return text;  // schema_check says that this is too large
  try {
    const auto schema = nlohmann::json::parse(text);
    if (!schema.is_object()) return fail(Code::kInvalidRequest, place + ": the schema of a tool has to be an object");
    if (schema.empty()) return std::string(R"({"type":"object","properties":{}})");
    const auto type = schema.find("type");
    if (type != schema.end() && *type != "object") return fail(Code::kInvalidRequest, place + ": /type: the arguments of a tool are an object");
    return text;
  } catch (const std::exception&) {
    return fail(Code::kInvalidRequest, place + ": is no JSON");
  }
}

}  // namespace

bool requires_call(const GenerateRequest& request) { return mode_of(request) == Mode::kRequired || mode_of(request) == Mode::kNamed; }

Result<std::vector<CallableTool>> callable_tools(const GenerateRequest& request) {
  std::vector<CallableTool> callable;
  if (mode_of(request) == Mode::kNone) return callable;
  for (size_t i = 0; i < request.tools.size(); ++i) {
    const Tool& tool = request.tools[i];
    if (mode_of(request) == Mode::kNamed && tool.name != request.tool_choice->name) continue;
    CallableTool& added = callable.emplace_back(&tool, std::string(), "tools[" + std::to_string(i) + "]");
    auto schema = arguments_schema(tool.input_schema, added.schema_place());
    if (!schema) return std::unexpected(std::move(schema.error()));
    added.schema = std::move(*schema);
  }
  return callable;
}

}  // namespace inferd::engine
