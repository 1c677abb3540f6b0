#include "store/byte_ranges.h"

#include <algorithm>
#include <iterator>

namespace inferd::store {

void ByteRanges::add(Range range) {
  if (range.begin >= range.end) return;
  auto at = ends_.upper_bound(range.begin);
  if (at != ends_.begin() && std::prev(at)->second >= range.begin) --at;
  while (at != ends_.end() && at->first <= range.end) {
    range = {std::min(range.begin, at->first), std::max(range.end, at->second)};
    at = ends_.erase(at);
  }
  ends_.emplace(range.begin, range.end);
}

void ByteRanges::cut(uint64_t size) {
  ends_.erase(ends_.lower_bound(size), ends_.end());
  if (!ends_.empty()) ends_.rbegin()->second = std::min(ends_.rbegin()->second, size);
}

uint64_t ByteRanges::total() const {
  uint64_t bytes = 0;
  for (const auto& [begin, end] : ends_) bytes += end - begin;
  return bytes;
}

uint64_t ByteRanges::end() const { return ends_.empty() ? 0 : ends_.rbegin()->second; }

uint64_t ByteRanges::contiguous() const {
  const auto first = ends_.find(0);
  return first == ends_.end() ? 0 : first->second;
}

std::optional<ByteRanges::Range> ByteRanges::first_gap(uint64_t limit, uint64_t most) const {
  const uint64_t begin = contiguous();
  if (begin >= limit) return std::nullopt;
  const auto next = ends_.upper_bound(begin);
  const uint64_t end = next == ends_.end() ? limit : std::min(limit, next->first);
  return Range{begin, begin + std::min(end - begin, most)};
}

}  // namespace inferd::store
