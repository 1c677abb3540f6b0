// The context that computes embeddings: what the operator asked for and what the model is, as llama.cpp's parameters. The embedder makes its
// context with these, and the memory plan projects the same one. Calls may make a small context for a moment: the main thread, while loading.
#pragma once

#include <llama.h>

#include <cstdint>

#include "base/error.h"
#include "engine/embed_batches.h"

namespace inferd::engine {

using Pooling = enum llama_pooling_type;

struct EmbedSizes {
  int32_t pooling = -1;   // llama_pooling_type; -1: the model file's, else mean
  uint32_t n_ctx = 2048;  // longest input in tokens; less if the model was trained for less
  uint32_t threads = 1;
};

struct EmbedContext {
  llama_context_params params{};  // without callbacks
  Pooling pooling = LLAMA_POOLING_TYPE_MEAN;  // mean, CLS or last
  uint32_t n_ctx = 0;             // longest input in tokens
  BatchLimits limits;
  bool is_encoder = false;
  uint64_t output_bytes = 0;      // of the buffer for results, which llama.cpp's memory breakdown leaves out
};

/// True: each token of a text sees all others, so a text is computed in one piece, and the model writes none.
bool is_encoder(llama_model* model);

/// kUsage: a pooling that gives no vector of a text; kIntegrity: a model that makes no embeddings. Also of a model without its weights.
Result<EmbedContext> resolve_embed_context(llama_model* model, const EmbedSizes& sizes);

}  // namespace inferd::engine
