// Which regular expressions of "pattern" llama.cpp's schema converter turns into exactly that (doc/json-schema.md). schema_check calls it.
// Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace inferd::engine {

/// Why `pattern` (well-formed UTF-8) would not hold; empty if it does.
std::string pattern_fault(std::string_view pattern);

}  // namespace inferd::engine
