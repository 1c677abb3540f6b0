#include "base/base64.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inferd {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint32_t kBad = 1u << 24;
constexpr size_t kBlock = 1'024;  // groups between two looks at the errors

using Table = std::array<uint32_t, 256>;

// Of each place in a group of four: what a character there adds to the three bytes, of which the first is the lowest one; kBad if it is none of
// the alphabet.
constexpr std::array<Table, 4> kDecode = [] {
  std::array<Table, 4> tables{};
  for (Table& table : tables) table.fill(kBad);
  for (uint32_t bits = 0; bits < kAlphabet.size(); ++bits) {
    const auto c = static_cast<unsigned char>(kAlphabet[bits]);
    tables[0][c] = bits << 2;
    tables[1][c] = bits >> 4 | (bits & 15) << 12;
    tables[2][c] = bits >> 2 << 8 | (bits & 3) << 22;
    tables[3][c] = bits << 16;
  }
  return tables;
}();

uint32_t decode_group(const unsigned char* from) {
  return kDecode[0][from[0]] | kDecode[1][from[1]] | kDecode[2][from[2]] | kDecode[3][from[3]];
}

// Four bytes are cheaper to store than three; the next group's take the place of the last one.
void store(unsigned char* to, uint32_t group) {
  if constexpr (std::endian::native == std::endian::big) group = std::byteswap(group);
  std::memcpy(to, &group, sizeof group);
}

// False if a character is none of the alphabet.
bool decode_groups(const unsigned char* from, size_t groups, unsigned char* to) {
  while (groups > 0) {
    const size_t block = std::min(groups, kBlock);
    groups -= block;
    uint32_t all = 0;
    size_t left = block;
    for (; left >= 4; left -= 4, from += 16, to += 12) {
      const uint32_t a = decode_group(from), b = decode_group(from + 4), c = decode_group(from + 8), d = decode_group(from + 12);
      store(to, a);
      store(to + 3, b);
      store(to + 6, c);
      store(to + 9, d);
      all |= a | b | c | d;
    }
    for (; left > 0; --left, from += 4, to += 3) {
      const uint32_t group = decode_group(from);
      store(to, group);
      all |= group;
    }
    if (all >= kBad) return false;
  }
  return true;
}

}  // namespace

bool decode_base64(std::string_view text, std::vector<unsigned char>& out) {
  out.clear();
  if (text.empty()) return true;
  if (text.size() % 4 != 0) return false;
  const size_t padding = !text.ends_with('=') ? 0 : !text.ends_with("==") ? 1 : 2;
  const size_t groups = text.size() / 4;
  out.resize(groups * 3 - padding);
  const auto* from = reinterpret_cast<const unsigned char*>(text.data());
  // The last group may be padded, and has no place for a fourth byte.
  std::array<unsigned char, 4> last;
  std::memcpy(last.data(), from + text.size() - 4, 4);
  for (size_t i = 0; i < padding; ++i) last[3 - i] = 'A';  // no bits
  const uint32_t group = decode_group(last.data());
  const bool unused_bits = group >> (8 * (3 - padding)) != 0;  // kBad too lies there
  if (unused_bits || !decode_groups(from, groups - 1, out.data())) {
    out.clear();
    return false;
  }
  for (size_t i = 0; i < 3 - padding; ++i) out[(groups - 1) * 3 + i] = static_cast<unsigned char>(group >> (8 * i));
  return true;
}

std::string encode_base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4, '=');
  const auto byte = [&](size_t at) { return at < bytes.size() ? static_cast<uint32_t>(static_cast<unsigned char>(bytes[at])) : 0; };
  char* to = text.data();
  for (size_t at = 0; at < bytes.size(); at += 3, to += 4) {
    const uint32_t bits = byte(at) << 16 | byte(at + 1) << 8 | byte(at + 2);
    const size_t characters = std::min<size_t>(bytes.size() - at, 3) + 1;  // the others stay =
    for (size_t i = 0; i < characters; ++i) to[i] = kAlphabet[bits >> (18 - 6 * i) & 63];
  }
  return text;
}

}  // namespace inferd
