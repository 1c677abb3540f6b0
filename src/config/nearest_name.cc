#include "config/nearest_name.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

namespace inferd {
namespace {

constexpr size_t kLongestName = 64;  // longer ones are no slip of the finger, and the cost is their product

bool same(char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b)); }

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  std::array<std::vector<size_t>, 3> rows;  // the one before the last, the last, and the one being filled
  for (auto& row : rows) row.resize(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) rows[1][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    auto& [before, last, now] = rows;
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (same(a[i - 1], b[j - 1]) ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]);
      if (swapped) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::ranges::rotate(rows, rows.begin() + 1);
  }
  return rows[1][b.size()];
}

std::optional<std::string_view> nearest_name(std::string_view given, std::span<const std::string_view> names) {
  if (given.size() > kLongestName) return std::nullopt;
  std::optional<std::string_view> nearest;
  size_t least = 0;
  for (const std::string_view name : names) {
    const size_t distance = edit_distance(given, name);
    const size_t most = std::max<size_t>(1, std::min(given.size(), name.size()) / 3);
    if (distance <= most && (!nearest || distance < least)) {
      nearest = name;
      least = distance;
    }
  }
  return nearest;
}

}  // namespace inferd
