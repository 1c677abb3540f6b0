// Writing JSON (RFC 8259) by appending to a string, compact, as every wire and log of inferd does. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace inferd {

/// Appends `text` in quotes: `"`, `\` and control characters are escaped (\b \f \n \r \t, others \u00xx), all else is written raw.
void append_json_text(std::string& out, std::string_view text);
std::string json_text(std::string_view text);

void append_json_number(std::string& out, uint64_t value);
void append_json_number(std::string& out, int64_t value);
/// The shortest text that reads back as `value`; not finite: null.
void append_json_number(std::string& out, double value);

}  // namespace inferd
