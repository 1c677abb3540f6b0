#include "engine/embed_sizes.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <string>

namespace inferd::engine {
namespace {

constexpr uint32_t kProbeCells = 256;  // the least that llama.cpp makes

// Of the model file; "" if it has none. Short ones only.
std::string metadata(const llama_model* model, const std::string& key) {
  char value[128];
  const int32_t length = llama_model_meta_val_str(model, key.c_str(), value, sizeof value);
  return length > 0 && static_cast<size_t>(length) < sizeof value ? value : std::string();
}

std::string architecture(const llama_model* model) { return metadata(model, "general.architecture"); }

int32_t pooling_of_file(const llama_model* model) {
  const std::string text = metadata(model, architecture(model) + ".pooling_type");
  int32_t pooling = LLAMA_POOLING_TYPE_UNSPECIFIED;
  std::from_chars(text.data(), text.data() + text.size(), pooling);
  return pooling;
}

Result<Pooling> choose_pooling(const llama_model* model, int32_t wanted) {
  switch (wanted) {
    case LLAMA_POOLING_TYPE_MEAN:
    case LLAMA_POOLING_TYPE_CLS:
    case LLAMA_POOLING_TYPE_LAST: return static_cast<Pooling>(wanted);
    case LLAMA_POOLING_TYPE_UNSPECIFIED: break;
    default:
      return fail(Code::kUsage, "embed_pooling " + std::to_string(wanted) + " gives no vector of a text: expected -1 (the model file's), " +
                                    "1 (mean), 2 (CLS) or 3 (last)");
  }
  switch (const int32_t pooling = pooling_of_file(model); pooling) {
    case LLAMA_POOLING_TYPE_CLS:
    case LLAMA_POOLING_TYPE_LAST: return static_cast<Pooling>(pooling);
    case LLAMA_POOLING_TYPE_RANK: return fail(Code::kIntegrity, "the model ranks texts and makes no embeddings of them");
    default: return LLAMA_POOLING_TYPE_MEAN;
  }
}

}  // namespace

bool is_encoder(llama_model* model) {
  if (metadata(model, architecture(model) + ".attention.causal") == "false") return true;
  // Files of some encoders do not say it; llama.cpp knows it by giving them no memory.
  llama_context_params params = llama_context_default_params();
  params.n_ctx = kProbeCells;
  params.n_batch = params.n_ubatch = params.n_seq_max = 1;
  params.no_perf = true;
  const std::unique_ptr<llama_context, decltype(&llama_free)> probe(llama_init_from_model(model, params), &llama_free);
  return probe && llama_get_memory(probe.get()) == nullptr;
}

Result<EmbedContext> resolve_embed_context(llama_model* model, const EmbedSizes& sizes) {
  if (llama_model_has_encoder(model)) return fail(Code::kIntegrity, "models with an encoder and a decoder make no embeddings here");
  const auto pooling = choose_pooling(model, sizes.pooling);
  if (!pooling) return std::unexpected(pooling.error());
  EmbedContext context;
  context.pooling = *pooling;
  context.n_ctx = std::clamp(sizes.n_ctx, 1U, static_cast<uint32_t>(std::max(1, llama_model_n_ctx_train(model))));
  context.is_encoder = is_encoder(model);
  // Where states are recurrent, llama.cpp computes one sequence after the other anyway, and each place for one costs a state.
  if (llama_model_is_recurrent(model) || llama_model_is_hybrid(model)) context.limits.inputs = 1;

  llama_context_params& params = context.params;
  params = llama_context_default_params();
  params.n_ctx = std::max(context.n_ctx, kEmbedBatchTokens);
  // What sees only what is before it can be computed in slices. An encoder's micro-batch has to hold the longest input.
  params.n_batch = params.n_ubatch = context.is_encoder ? params.n_ctx : kEmbedBatchTokens;
  params.n_seq_max = static_cast<uint32_t>(context.limits.inputs);
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(std::max(1U, sizes.threads));
  params.embeddings = true;
  params.pooling_type = context.is_encoder ? context.pooling : LLAMA_POOLING_TYPE_NONE;  // a slice is not pooled for itself
  params.kv_unified = true;
  params.no_perf = true;

  // llama.cpp makes room for the logits of each token also where there are none.
  const auto row = static_cast<uint64_t>(llama_vocab_n_tokens(llama_model_get_vocab(model))) + static_cast<uint64_t>(llama_model_n_embd_out(model));
  context.output_bytes = sizeof(float) * row * params.n_batch;
  return context;
}

}  // namespace inferd::engine
