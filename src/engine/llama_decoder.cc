#include "engine/llama_decoder.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <string>

namespace inferd::engine {

// The compute threads stay between steps; the CPU backend is loaded at run time, so its functions are looked up by name.
struct LlamaDecoder::ThreadPool {
  ggml_threadpool_t pool = nullptr;
  decltype(&ggml_threadpool_free) free = nullptr;
  explicit ThreadPool(uint32_t threads) {
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (device == nullptr) return;
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(device);
    const auto create = reinterpret_cast<decltype(&ggml_threadpool_new)>(ggml_backend_reg_get_proc_address(registry, "ggml_threadpool_new"));
    free = reinterpret_cast<decltype(&ggml_threadpool_free)>(ggml_backend_reg_get_proc_address(registry, "ggml_threadpool_free"));
    if (create == nullptr || free == nullptr) return;
    ggml_threadpool_params params = ggml_threadpool_params_default(static_cast<int>(threads));
    pool = create(&params);
  }
  ~ThreadPool() {
    if (pool != nullptr) free(pool);
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
};

LlamaDecoder::LlamaDecoder(const Model& model) : model_(model) {}

LlamaDecoder::~LlamaDecoder() {
  if (context_ && thread_pool_) llama_detach_threadpool(context_.get());
  if (batch_.token != nullptr) llama_batch_free(batch_);
}

bool LlamaDecoder::should_abort(void* self) { return static_cast<LlamaDecoder*>(self)->abort_.load(std::memory_order_relaxed); }

Result<std::unique_ptr<LlamaDecoder>> LlamaDecoder::create(const Model& model, const ContextSizes& sizes) {
  std::unique_ptr<LlamaDecoder> decoder(new LlamaDecoder(model));
  llama_context_params params = context_params(sizes);
  params.abort_callback = &LlamaDecoder::should_abort;
  params.abort_callback_data = decoder.get();
  decoder->context_.reset(llama_init_from_model(model.get(), params));
  if (!decoder->context_) {
    return fail(Code::kInternal, "no context of " + std::to_string(sizes.kv_cells) + " cells can be made (too little memory?): lower --kv-cells or --n-ctx");
  }
  decoder->memory_ = llama_get_memory(decoder->context_.get());
  decoder->thread_pool_ = std::make_unique<ThreadPool>(sizes.threads);
  if (ggml_threadpool_t pool = decoder->thread_pool_->pool; pool != nullptr) llama_attach_threadpool(decoder->context_.get(), pool, pool);
  decoder->batch_ = llama_batch_init(static_cast<int32_t>(params.n_batch), 0, 1);
  return decoder;
}

size_t LlamaDecoder::batch_capacity() const { return llama_n_batch(context_.get()); }

Decoder::Outcome LlamaDecoder::compute(std::span<const Input> batch) {
  batch_.n_tokens = static_cast<int32_t>(batch.size());
  for (size_t i = 0; i < batch.size(); ++i) {
    batch_.token[i] = batch[i].token;
    batch_.pos[i] = static_cast<llama_pos>(batch[i].position);
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = batch[i].sequence;
    batch_.logits[i] = batch[i].wants_logits ? 1 : 0;
  }
  switch (llama_decode(context_.get(), batch_)) {
    case 0: return Outcome::kComputed;
    case 1: return Outcome::kNoCells;
    case 2: return Outcome::kAborted;
    default: return Outcome::kFailed;
  }
}

const float* LlamaDecoder::logits(size_t place) { return llama_get_logits_ith(context_.get(), static_cast<int32_t>(place)); }

void LlamaDecoder::share(SequenceId from, SequenceId to, size_t length) {
  llama_memory_seq_cp(memory_, from, to, 0, static_cast<llama_pos>(length));
}

bool LlamaDecoder::cut(SequenceId id, size_t length) { return llama_memory_seq_rm(memory_, id, static_cast<llama_pos>(length), -1); }

void LlamaDecoder::clear(SequenceId id) { llama_memory_seq_rm(memory_, id, -1, -1); }

int64_t LlamaDecoder::first_position(SequenceId id) { return llama_memory_seq_pos_min(memory_, id); }

std::vector<uint8_t> LlamaDecoder::save(SequenceId id) {
  std::vector<uint8_t> state(llama_state_seq_get_size(context_.get(), id));
  const size_t written = llama_state_seq_get_data(context_.get(), state.data(), state.size(), id);
  if (written == 0 || written > state.size()) return {};
  state.resize(written);
  return state;
}

bool LlamaDecoder::restore(SequenceId id, std::span<const uint8_t> state) {
  return llama_state_seq_set_data(context_.get(), state.data(), state.size(), id) != 0;
}

}  // namespace inferd::engine
