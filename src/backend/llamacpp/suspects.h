// Which requests were there when engines died, so that one that kills them is found: after two deaths it runs alone, and if that engine
// dies too it is refused for a while. Keeps keyed hashes, never a request; the key is this process's. I/O thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

namespace inferd {

class Suspects {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Hash = std::array<uint8_t, 32>;
  enum class Verdict { kFine, kAlone, kRefused };

  Suspects();

  /// HMAC-SHA-256 of a request's content.
  Hash hash_of(std::string_view content) const;
  /// Nobody is suspected: no hash has to be computed.
  bool empty() const { return entries_.empty(); }
  Verdict verdict(const Hash& hash, Time now) const;
  /// An engine died in a way that a request can cause while these were there. `alone`: the only one ran alone.
  void died(const std::vector<Hash>& present, bool alone, Time now);

 private:
  struct Entry {
    unsigned deaths = 0;
    bool refused = false;
    Time last{};
  };
  void forget_old(Time now);

  std::array<uint8_t, 32> key_{};
  std::map<Hash, Entry> entries_;
};

}  // namespace inferd
