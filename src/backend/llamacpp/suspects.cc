#include "backend/llamacpp/suspects.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>

namespace inferd {
namespace {
constexpr unsigned kDeathsBeforeAlone = 2;
constexpr auto kRemembered = std::chrono::minutes(10);
constexpr size_t kMostEntries = 1024;
}  // namespace

Suspects::Suspects() { RAND_bytes(key_.data(), static_cast<int>(key_.size())); }

Suspects::Hash Suspects::hash_of(std::string_view content) const {
  Hash hash{};
  unsigned length = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), reinterpret_cast<const uint8_t*>(content.data()), content.size(), hash.data(),
       &length);
  return hash;
}

Suspects::Verdict Suspects::verdict(const Hash& hash, Time now) const {
  const auto at = entries_.find(hash);
  if (at == entries_.end() || now - at->second.last > kRemembered) return Verdict::kFine;
  if (at->second.refused) return Verdict::kRefused;
  return at->second.deaths >= kDeathsBeforeAlone ? Verdict::kAlone : Verdict::kFine;
}

void Suspects::died(const std::vector<Hash>& present, bool alone, Time now) {
  forget_old(now);
  for (const Hash& hash : present) {
    Entry& entry = entries_[hash];
    ++entry.deaths;
    entry.last = now;
    entry.refused = entry.refused || alone;
  }
}

void Suspects::forget_old(Time now) {
  std::erase_if(entries_, [now](const auto& entry) { return now - entry.second.last > kRemembered; });
  while (entries_.size() >= kMostEntries) {
    entries_.erase(std::ranges::min_element(entries_, {}, [](const auto& entry) { return entry.second.last; }));
  }
}

}  // namespace inferd
