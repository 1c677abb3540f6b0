#include "engine/embed_batches.h"

#include <algorithm>
#include <iterator>
#include <map>

namespace inferd::engine {

// The longest that is left, then always the longest that still fits.
std::vector<std::vector<uint32_t>> pack_batches(std::span<const uint32_t> lengths, const BatchLimits& limits) {
  std::map<uint32_t, std::vector<uint32_t>> places;  // by length; the next one is the last
  for (size_t i = lengths.size(); i-- > 0;) places[lengths[i]].push_back(static_cast<uint32_t>(i));
  std::vector<std::vector<uint32_t>> batches;
  while (!places.empty()) {
    std::vector<uint32_t>& batch = batches.emplace_back();
    size_t room = std::max<size_t>(limits.tokens, places.rbegin()->first);
    do {
      const auto after = places.upper_bound(static_cast<uint32_t>(std::min<size_t>(room, UINT32_MAX)));
      if (after == places.begin()) break;
      const auto longest = std::prev(after);
      room -= longest->first;
      batch.push_back(longest->second.back());
      longest->second.pop_back();
      if (longest->second.empty()) places.erase(longest);
    } while (batch.size() < limits.inputs);
  }
  return batches;
}

}  // namespace inferd::engine
