// The llama context behind Decoder: one pool of KV cells for all sequences, its compute threads, its abort flag. Made on the main thread
// once the model is loaded; then the step thread's, except abort(). The model outlives it.
#pragma once

#include <llama.h>

#include <atomic>
#include <memory>

#include "base/error.h"
#include "engine/compute_threads.h"
#include "engine/context_sizes.h"
#include "engine/decoder.h"
#include "engine/model.h"

namespace inferd::engine {

class MediaProjector;

class LlamaDecoder final : public Decoder {
 public:
  /// Errors: no memory for so many cells. `projector`: of the media that it will be given; nullptr: none come. It and the threads outlive the
  /// decoder.
  static Result<std::unique_ptr<LlamaDecoder>> create(const Model& model, const ContextSizes& sizes, ComputeThreads& threads,
                                                      MediaProjector* projector = nullptr);
  ~LlamaDecoder() override;

  size_t batch_capacity() const override;
  Outcome compute(std::span<const Input> batch) override;
  Outcome encode_media(const MediaSpan& media, const std::function<bool()>& go_on) override;
  Outcome compute_media(const MediaInput& input) override;
  const float* logits(size_t place) override;
  void abort(bool now) override { abort_.store(now, std::memory_order_relaxed); }

  void share(SequenceId from, SequenceId to, size_t length) override;
  bool cut(SequenceId id, size_t length) override;
  void clear(SequenceId id) override;
  int64_t first_position(SequenceId id) override;
  std::vector<uint8_t> save(SequenceId id) override;
  bool restore(SequenceId id, std::span<const uint8_t> state) override;

  bool is_recurrent() const override { return model_.is_recurrent(); }
  size_t window() const override { return model_.window(); }
  bool is_end(Token token) const override { return llama_vocab_is_eog(model_.vocab(), token); }
  void append_piece(Token token, std::string& out) const override { model_.append_piece(token, out); }

 private:
  LlamaDecoder(const Model& model, ComputeThreads& threads, MediaProjector* projector);
  static bool should_abort(void* self);
  Outcome decode(const llama_batch& batch);

  const Model& model_;
  ComputeThreads& threads_;
  MediaProjector* const projector_;
  std::unique_ptr<llama_context, decltype(&llama_free)> context_{nullptr, &llama_free};
  llama_memory_t memory_ = nullptr;
  llama_batch batch_{};
  size_t first_place_ = 0;  // of the last batch that was decoded: media may take several
  std::atomic<bool> abort_{false};
};

}  // namespace inferd::engine
