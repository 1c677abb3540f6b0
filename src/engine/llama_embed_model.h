// The llama context behind EmbedModel: a second one on the weights that may also write text. An encoder computes whole texts side by side and
// pools them itself. A model whose tokens see only what is before them computes slices of at most kEmbedBatchTokens, also of a long text, and
// the slices' tokens are pooled here. Made on the main thread; then the step thread's. Model and threads outlive it.
#pragma once

#include <llama.h>

#include <atomic>
#include <memory>

#include "base/error.h"
#include "engine/compute_threads.h"
#include "engine/embed_model.h"
#include "engine/embed_sizes.h"
#include "engine/model.h"

namespace inferd::engine {

class LlamaEmbedModel final : public EmbedModel {
 public:
  /// Errors: those of resolve_embed_context; no memory.
  static Result<std::unique_ptr<LlamaEmbedModel>> create(const Model& model, const EmbedSizes& sizes, ComputeThreads& threads);
  ~LlamaEmbedModel() override;
  LlamaEmbedModel(const LlamaEmbedModel&) = delete;
  LlamaEmbedModel& operator=(const LlamaEmbedModel&) = delete;

  uint32_t width() const override { return width_; }
  uint32_t n_ctx() const override { return plan_.n_ctx; }
  BatchLimits limits() const override { return plan_.limits; }
  /// It reads texts and writes none.
  bool is_encoder() const { return plan_.is_encoder; }

  Result<std::vector<Token>> tokenize(std::string_view text) const override;
  size_t fewest_tokens(size_t bytes) const override;
  Result<bool> compute(std::span<const std::span<const Token>> inputs) override;
  std::span<const float> embedding(size_t place) const override;
  void abort(bool now) override { abort_.store(now, std::memory_order_relaxed); }

 private:
  struct Place {
    size_t input, position;
  };

  LlamaEmbedModel(const Model& model, EmbedContext plan, ComputeThreads& threads);
  static bool should_abort(void* self);
  void add_to_batch(Token token, Place place);
  Result<bool> run_batch();
  Result<bool> compute_whole(std::span<const std::span<const Token>> inputs);
  Result<bool> compute_slices(std::span<const std::span<const Token>> inputs);
  void pool(Place place, size_t length, const float* row);

  const Model& model_;
  const EmbedContext plan_;
  ComputeThreads& threads_;
  const uint32_t width_;
  std::unique_ptr<llama_context, decltype(&llama_free)> context_{nullptr, &llama_free};
  llama_memory_t memory_ = nullptr;  // null: an encoder without one
  llama_batch batch_{};
  std::vector<const float*> rows_;   // of each input
  std::vector<float> pooled_;        // [inputs][width], where they are pooled here
  std::atomic<bool> abort_{false};
};

}  // namespace inferd::engine
