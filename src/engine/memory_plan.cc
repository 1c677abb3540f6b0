#include "engine/memory_plan.h"

#include <gguf.h>
#include <llama-ext.h>
#include <llama.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <string_view>

#include "base/size_text.h"
#include "base/utf8.h"
#include "os/input_file.h"

namespace inferd::engine {
namespace {

// Even without memory behind it, a context has a book of its cells (some 50 bytes each), and the states of recurrent layers are real.
// Beyond these a context is projected from smaller ones first, and made only if it is going to fit.
constexpr uint32_t kCheapCells = 1u << 20;
constexpr uint32_t kCheapStates = 2;

using ModelPointer = std::unique_ptr<llama_model, decltype(&llama_model_free)>;

// Takes what llama.cpp logs, for as long as it lives, and keeps the first error.
class LogCapture {
 public:
  LogCapture() {
    llama_log_get(&before_, &before_data_);
    llama_log_set(
        [](ggml_log_level level, const char* text, void* self) {
          auto& error = static_cast<LogCapture*>(self)->error_;
          if (level == GGML_LOG_LEVEL_ERROR && error.empty()) error = text;
        },
        this);
  }
  ~LogCapture() { llama_log_set(before_, before_data_); }
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  void clear() { error_.clear(); }
  // ": " and the error as one printable line without the name of llama.cpp's function; "" without one.
  std::string reason() const {
    constexpr size_t kMost = 300;
    std::string text = error_;
    const size_t colon = text.find(": ");
    if (colon != std::string::npos && text.find(' ') > colon) text.erase(0, colon + 2);
    while (text.ends_with('\n')) text.pop_back();
    std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
    return text.empty() ? "" : ": " + std::string(cut_utf8(to_valid_utf8(text), kMost));
  }

 private:
  ggml_log_callback before_ = nullptr;
  void* before_data_ = nullptr;
  std::string error_;
};

// What the file says of its vocabulary.
struct Vocabulary {
  std::string architecture;
  size_t tokens = 0;
};

std::optional<Vocabulary> vocabulary_of(std::FILE* file) {
  std::rewind(file);
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> gguf(gguf_init_from_file_ptr(file, {.no_alloc = true, .ctx = nullptr}), &gguf_free);
  if (!gguf) return std::nullopt;
  const int64_t architecture = gguf_find_key(gguf.get(), "general.architecture");
  const int64_t tokens = gguf_find_key(gguf.get(), "tokenizer.ggml.tokens");
  if (architecture < 0 || gguf_get_kv_type(gguf.get(), architecture) != GGUF_TYPE_STRING) return std::nullopt;
  if (tokens < 0 || gguf_get_kv_type(gguf.get(), tokens) != GGUF_TYPE_ARRAY) return std::nullopt;
  return Vocabulary{gguf_get_val_str(gguf.get(), architecture), gguf_get_arr_n(gguf.get(), tokens)};
}

// The model's tensors without their data. The vocabulary stays away: reading it is most of the time, and no size depends on more than
// its length, which the file gives as a number or, if it does not, `vocabulary` does.
ModelPointer load_outline(std::FILE* file, const std::optional<Vocabulary>& vocabulary) {
  std::array<llama_model_kv_override, 3> overrides{};  // the last one stays empty: the end
  overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
  std::snprintf(overrides[0].key, sizeof overrides[0].key, "tokenizer.ggml.model");
  std::snprintf(overrides[0].val_str, sizeof overrides[0].val_str, "no_vocab");
  if (vocabulary) {
    overrides[1].tag = LLAMA_KV_OVERRIDE_TYPE_INT;
    std::snprintf(overrides[1].key, sizeof overrides[1].key, "%s.vocab_size", vocabulary->architecture.c_str());
    overrides[1].val_i64 = static_cast<int64_t>(vocabulary->tokens);
  }
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  params.no_alloc = true;
  params.load_mode = LLAMA_LOAD_MODE_NONE;
  params.kv_overrides = overrides.data();
  std::rewind(file);
  return {llama_model_load_from_file_ptr(file, params), &llama_model_free};
}

Result<ModelPointer> load_outline(std::FILE* file, LogCapture& log) {
  ModelPointer model = load_outline(file, std::nullopt);
  if (!model) {
    log.clear();
    if (const auto vocabulary = vocabulary_of(file)) model = load_outline(file, vocabulary);
  }
  if (model) return model;
  return fail(Code::kIntegrity, "the model cannot be loaded: it is no GGUF file, is cut short, or is of an unknown kind" + log.reason());
}

// As doubles: also what is projected beyond all bounds has to be compared.
struct Parts {
  double weights = 0, kv_cache = 0, compute = 0;

  double sum() const { return weights + kv_cache + compute; }
  Parts plus(double times, const Parts& from, const Parts& to) const {
    return {weights + times * (to.weights - from.weights), kv_cache + times * (to.kv_cache - from.kv_cache), compute + times * (to.compute - from.compute)};
  }
};

std::optional<Parts> parts_of(llama_model* model, const llama_context_params& params) {
  const std::unique_ptr<llama_context, decltype(&llama_free)> context(llama_init_from_model(model, params), &llama_free);
  if (!context) return std::nullopt;
  Parts parts;
  for (const auto& [buffer_type, bytes] : llama_get_memory_breakdown(context.get())) {
    parts.weights += static_cast<double>(bytes.model);
    parts.kv_cache += static_cast<double>(bytes.context);
    parts.compute += static_cast<double>(bytes.compute);
  }
  return parts;
}

std::optional<Parts> parts_of(llama_model* model, const ContextSizes& sizes) {
  const llama_context_params params = context_params(sizes);
  auto parts = parts_of(model, params);
  if (!parts) return std::nullopt;
  // The buffer of the logits is not in the breakdown.
  const auto n_vocab = static_cast<double>(llama_vocab_n_tokens(llama_model_get_vocab(model)));
  parts->compute += static_cast<double>(sizeof(float)) * n_vocab * params.n_outputs_max;
  return parts;
}

// Everything grows by the cell and, with recurrent layers, by the sequence.
std::optional<Parts> extended_parts(llama_model* model, const ContextSizes& sizes, ContextSizes small) {
  const auto whole = parts_of(model, small);
  if (!whole) return std::nullopt;
  Parts sum = *whole;
  for (uint32_t ContextSizes::* const size : {&ContextSizes::kv_cells, &ContextSizes::sequences}) {
    if (sizes.*size <= small.*size) continue;
    ContextSizes less = small;
    less.*size /= 2;
    const auto half = parts_of(model, less);
    if (!half) return std::nullopt;
    sum = sum.plus(static_cast<double>(sizes.*size - small.*size) / (less.*size), *half, *whole);
  }
  return sum;
}

std::optional<Parts> project(llama_model* model, const ContextSizes& sizes, uint64_t available) {
  ContextSizes small = sizes;
  small.kv_cells = std::min(sizes.kv_cells, kCheapCells);
  if (llama_model_is_recurrent(model) || llama_model_is_hybrid(model)) small.sequences = std::min(sizes.sequences, kCheapStates);
  if (small.kv_cells < sizes.kv_cells || small.sequences < sizes.sequences) {
    const auto parts = extended_parts(model, sizes, small);
    if (!parts || parts->sum() > static_cast<double>(available)) return parts;
  }
  return parts_of(model, sizes);
}

uint64_t whole_bytes(double bytes) { return static_cast<uint64_t>(std::llround(std::max(0.0, bytes))); }

}  // namespace

uint64_t MemoryPlan::needed() const {
  const uint64_t model = weights + kv_cache + compute + embed + projector;
  return host_cache > UINT64_MAX - model ? UINT64_MAX : model + host_cache;
}

std::string MemoryPlan::refusal() const {
  return "the model needs " + size_text(needed()) + " (weights " + size_text(weights) + ", KV cache " + size_text(kv_cache) + ", compute " +
         size_text(compute) + ", host cache " + size_text(host_cache) + (embed > 0 ? ", embeddings " + size_text(embed) : "") +
         (projector > 0 ? ", projector " + size_text(projector) : "") + "), available are " + size_text(available) + " (" + limited_by +
         "): lower --kv-cells, --n-ctx or --host-cache-bytes";
}

Result<MemoryPlan> plan_memory(int model_fd, const PlanParameters& parameters) {
  auto file = os::input_stream(model_fd);
  if (!file) return std::unexpected(file.error());
  LogCapture log;
  try {
    auto model = load_outline(file->get(), log);
    if (!model) return std::unexpected(model.error());
    const auto sizes = resolve_sizes(parameters.sizes, static_cast<uint32_t>(std::max(0, llama_model_n_ctx_train(model->get()))));
    if (!sizes) return std::unexpected(sizes.error());
    const bool encoder = is_encoder(model->get());
    std::optional<Parts> embed;
    double embed_outputs = 0;
    if (parameters.embed) {
      const auto context = resolve_embed_context(model->get(), *parameters.embed);
      if (!context) return std::unexpected(context.error());
      embed = parts_of(model->get(), context->params);
      if (!embed) return fail(Code::kInternal, "no context for embeddings can be planned" + log.reason());
      embed_outputs = static_cast<double>(context->output_bytes);
    }
    auto parts = encoder ? embed : project(model->get(), *sizes, parameters.available.bytes);
    if (encoder && !parts) return fail(Code::kUsage, "this model makes embeddings and writes no text: give its entry \"embed\": true");
    if (!parts) {
      return fail(Code::kInternal, "no context of " + std::to_string(sizes->kv_cells) + " cells can be planned" + log.reason());
    }
    if (encoder) parts->kv_cache = parts->compute = 0;
    MemoryPlan plan{.weights = whole_bytes(parts->weights),
                    .kv_cache = whole_bytes(parts->kv_cache),
                    .compute = whole_bytes(parts->compute),
                    .host_cache = encoder ? 0 : parameters.host_cache_bytes,
                    .embed = embed ? whole_bytes(embed->kv_cache + embed->compute + embed_outputs) : 0,
                    .projector = parameters.projector_bytes,
                    .available = parameters.available.bytes,
                    .limited_by = parameters.available.limited_by,
                    .n_ctx = sizes->n_ctx,
                    .sequences = sizes->sequences,
                    .kv_cells = sizes->kv_cells,
                    .model_name = {}};
    char name[256];
    if (llama_model_meta_val_str(model->get(), "general.name", name, sizeof name) > 0) plan.model_name = name;
    return plan;
  } catch (const std::exception& error) {
    return fail(Code::kIntegrity, std::string("the memory of the model cannot be planned: ") + error.what());
  }
}

}  // namespace inferd::engine
