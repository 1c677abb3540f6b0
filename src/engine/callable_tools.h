// The tools that an answer to a request may call, each with the schema that its arguments have to satisfy. Prepare threads; pure.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "request/generate.h"

namespace inferd::engine {

struct CallableTool {
  const Tool* tool;    // the request's
  std::string schema;  // that objects alone satisfy
  std::string place;   // how errors name the tool: tools[0]

  std::string schema_place() const { return place + ".input_schema"; }
};

/// By tool_choice: all, none, or the one that it names. kInvalidRequest: a schema is no JSON object, or its `type` is not "object"; other
/// keywords are schema_check's business. A schema of {} stands for no arguments.
Result<std::vector<CallableTool>> callable_tools(const GenerateRequest& request);

/// tool_choice is `required` or names a tool.
bool requires_call(const GenerateRequest& request);

}  // namespace inferd::engine
