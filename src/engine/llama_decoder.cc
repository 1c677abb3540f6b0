#include "engine/llama_decoder.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <string>

#include "engine/media.h"

namespace inferd::engine {

namespace {

// An image's tokens may see each other in both directions; all else sees what stands before it.
class BothDirections {
 public:
  BothDirections(llama_context* context, bool wanted) : context_(wanted ? context : nullptr) {
    if (context_ != nullptr) llama_set_causal_attn(context_, false);
  }
  ~BothDirections() {
    if (context_ != nullptr) llama_set_causal_attn(context_, true);
  }
  BothDirections(const BothDirections&) = delete;
  BothDirections& operator=(const BothDirections&) = delete;

 private:
  llama_context* context_;
};

}  // namespace

LlamaDecoder::LlamaDecoder(const Model& model, ComputeThreads& threads, MediaProjector* projector)
    : model_(model), threads_(threads), projector_(projector) {}

LlamaDecoder::~LlamaDecoder() {
  if (context_) llama_detach_threadpool(context_.get());
  if (batch_.token != nullptr) llama_batch_free(batch_);
}

bool LlamaDecoder::should_abort(void* self) { return static_cast<LlamaDecoder*>(self)->abort_.load(std::memory_order_relaxed); }

Result<std::unique_ptr<LlamaDecoder>> LlamaDecoder::create(const Model& model, const ContextSizes& sizes, ComputeThreads& threads,
                                                           MediaProjector* projector) {
  std::unique_ptr<LlamaDecoder> decoder(new LlamaDecoder(model, threads, projector));
  llama_context_params params = context_params(sizes);
  params.abort_callback = &LlamaDecoder::should_abort;
  params.abort_callback_data = decoder.get();
  decoder->context_.reset(llama_init_from_model(model.get(), params));
  if (!decoder->context_) {
    return fail(Code::kInternal, "no context of " + std::to_string(sizes.kv_cells) + " cells can be made (too little memory?): lower --kv-cells or --n-ctx");
  }
  decoder->memory_ = llama_get_memory(decoder->context_.get());
  if (threads.get() != nullptr) llama_attach_threadpool(decoder->context_.get(), threads.get(), threads.get());
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
  first_place_ = 0;
  return decode(batch_);
}

Decoder::Outcome LlamaDecoder::decode(const llama_batch& batch) {
  const auto turn = threads_.turn();
  try {
    switch (llama_decode(context_.get(), batch)) {
      case 0: return Outcome::kComputed;
      case 1: return Outcome::kNoCells;
      case 2: return Outcome::kAborted;
      default: return Outcome::kFailed;
    }
  } catch (const std::exception&) {  // no memory for its graph
    return Outcome::kFailed;
  }
}

Decoder::Outcome LlamaDecoder::encode_media(const MediaSpan& media, const std::function<bool()>& go_on) {
  if (projector_ == nullptr) return Outcome::kFailed;
  // An encoder may take long: where it is asked whether to go on, other engines may have their turn.
  std::optional<ComputeThreads::Turn> turn;
  threads_.take(turn);
  return projector_->encode(media, [&] {
    turn.reset();
    threads_.take(turn);
    return !abort_.load(std::memory_order_relaxed) && go_on();
  });
}

Decoder::Outcome LlamaDecoder::compute_media(const MediaInput& input) {
  const std::span<const float> rows = input.media->rows();
  const size_t width = static_cast<size_t>(llama_model_n_embd_inp(model_.get())), count = input.tokens.size();
  if (rows.size() != count * width) return Outcome::kFailed;  // not encoded
  const BothDirections both_directions(context_.get(), input.media->both_directions());
  for (size_t first = 0; first < count;) {
    const size_t part = std::min(batch_capacity(), count - first);
    llama_batch batch = batch_;
    batch.token = nullptr;
    batch.embd = const_cast<float*>(rows.data() + first * width);
    batch.n_tokens = static_cast<int32_t>(part);
    for (size_t i = 0; i < part; ++i) {
      batch.pos[i] = static_cast<llama_pos>(input.position + first + i);
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = input.sequence;
      batch.logits[i] = input.wants_logits && first + i + 1 == count ? 1 : 0;
    }
    first_place_ = first;
    if (const Outcome outcome = decode(batch); outcome != Outcome::kComputed) return outcome;
    first += part;
  }
  input.media->drop_rows();
  return Outcome::kComputed;
}

const float* LlamaDecoder::logits(size_t place) { return llama_get_logits_ith(context_.get(), static_cast<int32_t>(place - first_place_)); }

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
