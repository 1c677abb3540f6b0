// Which texts of a request for embeddings are computed together. A batch costs its tokens and a little for itself, so batches are filled
// as well as they can be; texts of a batch do not see each other, so it makes no difference which ones they are. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace inferd::engine {

inline constexpr uint32_t kEmbedBatchTokens = 512;  // a batch is what every stream waits for
inline constexpr uint32_t kEmbedBatchInputs = 128;  // half of the sequence ids that llama.cpp has
static_assert(kEmbedBatchTokens >= kEmbedBatchInputs);  // llama.cpp has at least one result for each sequence

struct BatchLimits {
  size_t tokens = kEmbedBatchTokens;
  size_t inputs = kEmbedBatchInputs;
};

/// `lengths`: tokens of each input, at least 1. Each place is in one batch; an input longer than `limits.tokens` has one for itself. Long
/// ones come first; the answer to the same lengths is always the same.
std::vector<std::vector<uint32_t>> pack_batches(std::span<const uint32_t> lengths, const BatchLimits& limits);

}  // namespace inferd::engine
