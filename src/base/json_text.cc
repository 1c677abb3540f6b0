#include "base/json_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

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

// True if none of eight bytes needs an escape: is below 0x20, a quote or a backslash (the usual test for a zero byte, three times).
bool all_plain(const char* bytes) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHigh = 0x8080808080808080;
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  const auto zero_in = [](uint64_t w) { return (w - kOnes) & ~w; };
  const uint64_t control = (word - kOnes * 0x20) & ~word;
  return ((control | zero_in(word ^ (kOnes * '"')) | zero_in(word ^ (kOnes * '\\'))) & kHigh) == 0;
}

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
    while (i + 8 <= text.size() && all_plain(text.data() + i)) i += 8;
    if (i == text.size()) break;
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

std::string json_text(std::string_view text) {
  std::string out;
  append_json_text(out, text);
  return out;
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
