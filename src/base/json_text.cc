#include "base/json_text.h"

#include <array>
#include <charconv>
#include <cmath>

namespace inferd {
namespace {

// 0: written raw; 'u': \u00xx; else the letter after the backslash.
constexpr std::array<char, 256> kEscape = [] {
  std::array<char, 256> table{};
  for (int i = 0; i < 0x20; ++i) table[i] = 'u';
  table['\b'] = 'b';
  table['\f'] = 'f';
  table['\n'] = 'n';
  table['\r'] = 'r';
  table['\t'] = 't';
  table['"'] = '"';
  table['\\'] = '\\';
  return table;
}();

template <class T>
void append_chars(std::string& out, T value) {
  char buffer[32];
  out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

}  // namespace

void append_json_text(std::string& out, std::string_view text) {
  out += '"';
  size_t raw = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const char escape = kEscape[byte];
    if (escape == 0) continue;
    out.append(text, raw, i - raw);
    raw = i + 1;
    out += '\\';
    out += escape;
    if (escape == 'u') {
      constexpr char kHex[] = "0123456789abcdef";
      const char code[] = {'0', '0', kHex[byte >> 4], kHex[byte & 15]};
      out.append(code, sizeof code);
    }
  }
  out.append(text, raw, text.size() - raw);
  out += '"';
}

void append_json_number(std::string& out, uint64_t value) { append_chars(out, value); }
void append_json_number(std::string& out, int64_t value) { append_chars(out, value); }
void append_json_number(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
  } else {
    append_chars(out, value);
  }
}

}  // namespace inferd
