// A set of bytes of a file as ranges that neither touch nor overlap: what is there of a download. Plain data; one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace inferd::store {

class ByteRanges {
 public:
  struct Range {
    uint64_t begin = 0, end = 0;  // without end
    friend bool operator==(const Range&, const Range&) = default;
  };

  void add(Range range);
  /// Nothing at or behind `size` is left.
  void cut(uint64_t size);
  void clear() { ends_.clear(); }

  uint64_t total() const;
  /// Behind the last byte that is there.
  uint64_t end() const;
  /// The bytes from 0 on without a gap.
  uint64_t contiguous() const;
  /// The first bytes below `limit` that are not there, at most `most` of them.
  std::optional<Range> first_gap(uint64_t limit, uint64_t most) const;
  const std::map<uint64_t, uint64_t>& ends_by_begin() const { return ends_; }

 private:
  std::map<uint64_t, uint64_t> ends_;  // begin -> end
};

}  // namespace inferd::store
