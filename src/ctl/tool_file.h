// Files with JSON that `run` puts into a request: declarations of tools, a schema for the answer. Main thread. Errors begin with the file's
// name and say what was expected.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "inferd/client.h"

namespace inferd::ctl {

/// {"name","description","input_schema"}, or an array of such objects, which is not empty. Other fields are ignored.
Result<std::vector<client::ToolDeclaration>> read_tools(const std::filesystem::path& path);
/// A JSON schema: an object. Its text, compact.
Result<std::string> read_schema(const std::filesystem::path& path);

// The same for the text of a file called `name`.
Result<std::vector<client::ToolDeclaration>> parse_tools(std::string_view text, const std::string& name);
Result<std::string> parse_schema(std::string_view text, const std::string& name);

}  // namespace inferd::ctl
