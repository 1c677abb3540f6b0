#include "engine/context_sizes.h"

#include <algorithm>
#include <string>

namespace inferd::engine {
namespace {

constexpr uint32_t kDefaultContext = 8192;
constexpr uint32_t kDefaultCells = 16384;
constexpr uint32_t kMostCells = 1u << 30;
constexpr uint32_t kCellPadding = 256;

}  // namespace

Result<ContextSizes> resolve_sizes(ContextSizes wanted, uint32_t n_ctx_train) {
  if (wanted.sequences > kMostSequences) {
    return fail(Code::kUsage, std::to_string(wanted.sequences) + " requests at once: at most " + std::to_string(kMostSequences));
  }
  if (wanted.kv_cells != 0 && wanted.kv_cells < wanted.n_ctx) {
    return fail(Code::kUsage, "--kv-cells " + std::to_string(wanted.kv_cells) + " is less than --n-ctx " + std::to_string(wanted.n_ctx) +
                                  ": one request could not use its context");
  }
  ContextSizes sizes = wanted;
  sizes.sequences = std::max(1U, wanted.sequences);
  sizes.threads = std::max(1U, wanted.threads);
  if (sizes.n_ctx == 0) sizes.n_ctx = std::min(kDefaultContext, std::max(1U, n_ctx_train));
  if (sizes.kv_cells == 0) {
    const uint64_t all = uint64_t{sizes.sequences} * sizes.n_ctx;
    sizes.kv_cells = std::max(sizes.n_ctx, static_cast<uint32_t>(std::min<uint64_t>(all, kDefaultCells)));
  }
  sizes.kv_cells = (std::min(sizes.kv_cells, kMostCells) + kCellPadding - 1) / kCellPadding * kCellPadding;
  sizes.n_ctx = std::min(sizes.n_ctx, sizes.kv_cells);
  return sizes;
}

llama_context_params context_params(const ContextSizes& sizes) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = sizes.kv_cells;
  params.n_batch = params.n_ubatch = std::min(kBatchTokens, sizes.kv_cells);
  params.n_seq_max = sizes.sequence_ids();
  params.n_outputs_max = params.n_seq_max;  // llama.cpp wants one for each sequence, although only running ones have outputs
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(sizes.threads);
  params.kv_unified = true;
  params.no_perf = true;
  return params;
}

}  // namespace inferd::engine
