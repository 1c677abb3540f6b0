#include "engine/tool_calls.h"

#include <exception>
#include <nlohmann/json.hpp>

#include "engine/random_text.h"

namespace inferd::engine {

bool nests_too_deep(std::string_view json) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t at = 0; at < json.size(); ++at) {
    const char c = json[at];
    if (c == '"') {
      in_string = !in_string;
    } else if (in_string) {
      if (c == '\\') ++at;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxCallNesting) return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

CallIds::CallIds(const GenerateRequest& request) {
  for (const Message& message : request.messages) {
    for (const Block& block : message.content) {
      if (const auto* call = std::get_if<ToolUseBlock>(&block.held)) taken_.insert(call->tool_call_id);
      if (const auto* result = std::get_if<ToolResultBlock>(&block.held)) taken_.insert(result->tool_call_id);
    }
  }
}

std::string CallIds::next() {
  for (;;) {
    std::string id = "tc-" + random_text(8);
    if (taken_.insert(id).second) return id;
  }
}

std::unexpected<Error> malformed_call(const std::string& why) {
  return fail(Code::kToolCallMalformed, "the model wrote a tool call that cannot be read: " + why);
}

Result<std::string> call_arguments(std::string_view text) {
  if (nests_too_deep(text)) return malformed_call("its arguments nest too deep");
  try {
    const auto value = nlohmann::json::parse(text);
    if (!value.is_object()) return malformed_call("its arguments are no JSON object");
    return value.dump();
  } catch (const std::exception&) {  // its text quotes the arguments, which are the caller's business alone
    return malformed_call("its arguments are no JSON");
  }
}

}  // namespace inferd::engine
