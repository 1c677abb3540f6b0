// Which tools llama.cpp's chat library can take: it makes the names of its rules of theirs and does not see when two of them meet. What it
// cannot take gets our own form. Prepare threads; pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "engine/callable_tools.h"

namespace inferd::engine {

/// No two rules of the library get one name from the names of these tools.
bool names_stay_apart(std::span<const CallableTool> tools);

/// The form writes each argument by its own instead of one JSON object. `parser`: for a tool with arguments, as the library saved it.
bool is_written_by_argument(std::string_view parser);

/// For such a form: every schema lists its properties, and their rules get names of their own.
bool arguments_stay_apart(std::span<const std::string> schemas);

}  // namespace inferd::engine
