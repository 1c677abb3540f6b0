#include "schedule/router.h"

#include <algorithm>
#include <string>

#include "base/json_text.h"

namespace inferd {

bool Router::Entry::can(Need need) const {
  const Capabilities& capabilities = backend->capabilities();
  switch (need) {
    case Need::kText: return capabilities.text;
    case Need::kV2: return capabilities.v2;
    case Need::kEmbed: return capabilities.embed;
  }
  return false;
}

Router::Entry* Router::pick(Need need, Breaker::Time now, size_t from) {
  for (size_t i = from; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    if (entry.backend->ready() && entry.can(need) && entry.breaker.allows(now)) return &entry;
  }
  return nullptr;
}

// In the words of 02 §4 and 03 §4, which name the first entry.
Error Router::why_none(Need need) const {
  const bool nobody = !entries_.empty() && std::ranges::none_of(entries_, [need](const Entry& entry) { return entry.can(need); });
  if (!nobody) return Error{Code::kBackendUnavailable, "no backend available"};
  const std::string first = "backend " + json_text(entries_.front().backend->kind());
  switch (need) {
    case Need::kText: return Error{Code::kInvalidRequest, first + " makes embeddings only"};
    case Need::kV2: return Error{Code::kInternal, first + " does not advertise v2 capability"};
    case Need::kEmbed: return Error{Code::kEmbedUnsupported, first + " does not support embeddings"};
  }
  return Error{Code::kInternal, "no backend available"};
}

size_t Router::position(const Entry* entry) const {
  size_t i = 0;
  while (i < entries_.size() && &entries_[i] != entry) ++i;
  return i;
}

}  // namespace inferd
