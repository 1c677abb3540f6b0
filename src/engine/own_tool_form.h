// Tools for chat templates that have no form for them: declarations in the system turn, and a call is
//
//   <tool_call>
//   {"name": NAME, "arguments": {...}}
//   </tool_call>
//
// somewhere in the text of the answer; a result is a user's text in <tool_response>. Prepare threads; pure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/callable_tools.h"

namespace inferd::engine {

inline constexpr std::string_view kOwnCallOpen = "<tool_call>", kOwnCallClose = "</tool_call>";

/// For the system turn: the tools, a line of JSON each, and how to call them. Their schemas are JSON text.
std::string own_declarations(std::span<const Tool> tools, bool call_required);
/// A call of the history. `arguments` is JSON.
std::string own_call(std::string_view name, std::string_view arguments);
std::string own_result(std::string_view text);

/// GBNF of calls of these tools, from <tool_call> on: arguments by their schemas. `single`: one call; otherwise one or more.
/// Errors are kInvalidRequest: a schema that cannot be enforced.
Result<std::string> own_call_grammar(std::span<const CallableTool> tools, bool single);

/// `gbnf` with `prefix` before the name of each of its rules.
std::string with_prefix(std::string_view gbnf, std::string_view prefix);

}  // namespace inferd::engine
