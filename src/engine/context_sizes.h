// How large the context of a model is: what the operator asked for, with the defaults of spec README 10, and llama.cpp's parameters for
// it. The decoder makes its context with these and the memory plan projects the same one. Pure functions; any thread.
#pragma once

#include <llama.h>

#include <cstdint>

#include "base/error.h"

namespace inferd::engine {

inline constexpr uint32_t kBatchTokens = 512;    // at most so many tokens a step
inline constexpr uint32_t kMostSequences = 128;  // half of the sequence ids that llama.cpp has

struct ContextSizes {
  uint32_t n_ctx = 0;      // limit of one request, prompt plus answer, in tokens; 0: choose
  uint32_t sequences = 8;  // running at once
  uint32_t kv_cells = 0;   // the pool of all, in tokens; 0: choose
  uint32_t threads = 1;

  /// Each running sequence may have a finished one beside it, whose beginning others reuse.
  uint32_t sequence_ids() const { return 2 * sequences; }
};

/// Puts the defaults where `wanted` has 0: n_ctx min(8192, what the model was trained for); kv_cells max(n_ctx, min(sequences * n_ctx,
/// 16384)). The pool is rounded up to what llama.cpp rounds to. kUsage: a pool smaller than the n_ctx that was asked for, too many
/// sequences.
Result<ContextSizes> resolve_sizes(ContextSizes wanted, uint32_t n_ctx_train);

/// One pool for all sequences. Without callbacks: these are the decoder's own.
llama_context_params context_params(const ContextSizes& sizes);

}  // namespace inferd::engine
