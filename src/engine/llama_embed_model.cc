#include "engine/llama_embed_model.h"

#include <algorithm>
#include <exception>
#include <string>

namespace inferd::engine {

LlamaEmbedModel::LlamaEmbedModel(const Model& model, EmbedContext plan, ComputeThreads& threads)
    : model_(model), plan_(std::move(plan)), threads_(threads), width_(static_cast<uint32_t>(llama_model_n_embd_out(model.get()))) {}

LlamaEmbedModel::~LlamaEmbedModel() {
  if (context_) llama_detach_threadpool(context_.get());
  if (batch_.token != nullptr) llama_batch_free(batch_);
}

bool LlamaEmbedModel::should_abort(void* self) { return static_cast<LlamaEmbedModel*>(self)->abort_.load(std::memory_order_relaxed); }

Result<std::unique_ptr<LlamaEmbedModel>> LlamaEmbedModel::create(const Model& model, const EmbedSizes& sizes, ComputeThreads& threads) {
  auto plan = resolve_embed_context(model.get(), sizes);
  if (!plan) return std::unexpected(plan.error());
  std::unique_ptr<LlamaEmbedModel> made(new LlamaEmbedModel(model, std::move(*plan), threads));
  llama_context_params params = made->plan_.params;
  params.abort_callback = &LlamaEmbedModel::should_abort;
  params.abort_callback_data = made.get();
  made->context_.reset(llama_init_from_model(model.get(), params));
  if (!made->context_) {
    return fail(Code::kInternal, "no context for embeddings of " + std::to_string(params.n_ctx) +
                                     " tokens can be made (too little memory?): lower embed_n_ctx");
  }
  made->memory_ = llama_get_memory(made->context_.get());
  if (threads.get() != nullptr) llama_attach_threadpool(made->context_.get(), threads.get(), threads.get());
  made->batch_ = llama_batch_init(static_cast<int32_t>(params.n_batch), 0, 1);
  return made;
}

Result<std::vector<Token>> LlamaEmbedModel::tokenize(std::string_view text) const {
  try {
    return model_.tokenize(text, true, false);
  } catch (const std::exception&) {  // what it says may hold the text
    return fail(Code::kInvalidRequest, "tokenize failed");
  }
}

// These two kinds of vocabulary drop nothing of a text. The others leave out spaces and accents, and an unknown word is one token.
size_t LlamaEmbedModel::fewest_tokens(size_t bytes) const {
  const auto kind = llama_vocab_type(model_.vocab());
  return kind == LLAMA_VOCAB_TYPE_BPE || kind == LLAMA_VOCAB_TYPE_SPM ? bytes / model_.longest_token() : 0;
}

Result<bool> LlamaEmbedModel::compute(std::span<const std::span<const Token>> inputs) {
  if (memory_ != nullptr) llama_memory_clear(memory_, false);
  rows_.assign(inputs.size(), nullptr);
  batch_.n_tokens = 0;
  return plan_.is_encoder ? compute_whole(inputs) : compute_slices(inputs);
}

std::span<const float> LlamaEmbedModel::embedding(size_t place) const { return {rows_[place], width_}; }

void LlamaEmbedModel::add_to_batch(Token token, Place place) {
  const int32_t at = batch_.n_tokens++;
  batch_.token[at] = token;
  batch_.pos[at] = static_cast<llama_pos>(place.position);
  batch_.n_seq_id[at] = 1;
  batch_.seq_id[at][0] = static_cast<llama_seq_id>(place.input);
  batch_.logits[at] = 1;  // pooling needs each token's result
}

Result<bool> LlamaEmbedModel::run_batch() {
  const bool encodes = memory_ == nullptr;
  const auto turn = threads_.turn();
  const int32_t code = encodes ? llama_encode(context_.get(), batch_) : llama_decode(context_.get(), batch_);
  if (code == 0) return true;
  if (code == 2) return false;
  return fail(Code::kBackendUnavailable, (encodes ? "llama_encode failed: " : "llama_decode failed: ") + std::to_string(code));
}

Result<bool> LlamaEmbedModel::compute_whole(std::span<const std::span<const Token>> inputs) {
  for (size_t input = 0; input < inputs.size(); ++input) {
    for (size_t position = 0; position < inputs[input].size(); ++position) add_to_batch(inputs[input][position], {input, position});
  }
  auto computed = run_batch();
  if (!computed || !*computed) return computed;
  for (size_t input = 0; input < inputs.size(); ++input) {
    rows_[input] = llama_get_embeddings_seq(context_.get(), static_cast<llama_seq_id>(input));
    if (rows_[input] == nullptr) return fail(Code::kBackendUnavailable, "llama_get_embeddings_seq returned null");
  }
  return true;
}

Result<bool> LlamaEmbedModel::compute_slices(std::span<const std::span<const Token>> inputs) {
  pooled_.assign(inputs.size() * width_, 0);
  for (size_t input = 0; input < inputs.size(); ++input) rows_[input] = pooled_.data() + input * width_;
  std::vector<Place> slice;
  const auto run_slice = [&]() -> Result<bool> {
    auto computed = run_batch();
    if (!computed || !*computed) return computed;
    for (size_t i = 0; i < slice.size(); ++i) {
      const float* const row = llama_get_embeddings_ith(context_.get(), static_cast<int32_t>(i));
      if (row == nullptr) return fail(Code::kBackendUnavailable, "llama_get_embeddings_ith returned null");
      pool(slice[i], inputs[slice[i].input].size(), row);
    }
    slice.clear();
    batch_.n_tokens = 0;
    return true;
  };
  for (size_t input = 0; input < inputs.size(); ++input) {
    for (size_t position = 0; position < inputs[input].size(); ++position) {
      slice.push_back({input, position});
      add_to_batch(inputs[input][position], slice.back());
      if (slice.size() < plan_.params.n_batch) continue;
      if (auto computed = run_slice(); !computed || !*computed) return computed;
    }
  }
  return slice.empty() ? Result<bool>(true) : run_slice();
}

void LlamaEmbedModel::pool(Place place, size_t length, const float* row) {
  float* const sum = pooled_.data() + place.input * width_;
  if (plan_.pooling == LLAMA_POOLING_TYPE_MEAN) {
    const float share = 1.0f / static_cast<float>(length);
    for (uint32_t i = 0; i < width_; ++i) sum[i] += share * row[i];
  } else if (place.position == (plan_.pooling == LLAMA_POOLING_TYPE_LAST ? length - 1 : 0)) {
    std::copy_n(row, width_, sum);
  }
}

}  // namespace inferd::engine
