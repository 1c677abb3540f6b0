#include "base/sha256_hex.h"

#include <algorithm>
#include <cctype>

namespace inferd {

std::optional<std::string> sha256_hex(std::string_view text) {
  constexpr size_t kDigits = 64;
  if (text.size() != kDigits || !std::ranges::all_of(text, [](unsigned char c) { return std::isxdigit(c) != 0; })) return std::nullopt;
  std::string hex(text);
  std::ranges::transform(hex, hex.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return hex;
}

}  // namespace inferd
