// A SHA-256 as text. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace inferd {

/// The 64 hex digits of `text` in lower case; nothing if it is not 64 hex digits of either case.
std::optional<std::string> sha256_hex(std::string_view text);

}  // namespace inferd
