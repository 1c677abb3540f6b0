// What a model will need and whether it is there, told before anything is allocated: llama.cpp loads the file's description and builds
// the very context that the decoder will build, without memory behind either. Called on the main thread before the model is loaded,
// and by `inferd-engine --plan`. Needs a CPU variant to be loaded, opens no path, starts no thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "engine/context_sizes.h"
#include "engine/embed_sizes.h"
#include "os/memory.h"

namespace inferd::engine {

struct PlanParameters {
  ContextSizes sizes;  // as asked for, with 0 for a default
  uint64_t host_cache_bytes = 0;
  os::MemoryAvailable available;
  std::optional<EmbedSizes> embed = {};  // embeddings are wanted
  uint64_t projector_bytes = 0;          // of images and sounds
};

/// In bytes.
struct MemoryPlan {
  uint64_t weights = 0;     // in full: they are mapped from the file, but a model that has no room is read from the disk at every token
  uint64_t kv_cache = 0;    // and the states of recurrent layers
  uint64_t compute = 0;     // the graph's tensors and the logits
  uint64_t host_cache = 0;  // finished sequences
  uint64_t embed = 0;       // the context of embeddings
  uint64_t projector = 0;
  uint64_t available = 0;
  std::string limited_by;   // what `available` comes from
  uint32_t n_ctx = 0, sequences = 0, kv_cells = 0;
  std::string model_name;   // general.name of the file; may be empty

  uint64_t needed() const;
  bool fits() const { return needed() <= available; }
  /// One line with all numbers, for a plan that does not fit.
  std::string refusal() const;
};

/// `model_fd` stays the caller's; its position changes. kIntegrity: it is no model that this llama.cpp knows; kUsage: sizes that cannot be.
Result<MemoryPlan> plan_memory(int model_fd, const PlanParameters& parameters);

}  // namespace inferd::engine
