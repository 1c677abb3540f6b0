// The first line of a TCP connection with a key: {"type":"auth","key":"..."} (spec 05 §6). Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace inferd::wire {

/// The key, or nothing if the line is no auth frame.
std::optional<std::string> decode_auth(std::string_view line);

/// With its LF.
void append_auth(std::string& out, std::string_view key);

}  // namespace inferd::wire
