// `inferd-engine --plan`: what a model file will need, as one line of JSON for inferdctl. Main thread; it alone writes to the standard
// streams.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/context_sizes.h"

namespace inferd::engine {

struct PlanCommand {
  std::filesystem::path model;
  ContextSizes sizes;  // 0: the default
  uint64_t host_cache_bytes = 512u << 20;
  bool embed = false;  // also a context for embeddings
  // As of the engine: where the CPU variants are, and which to take.
  std::filesystem::path variants;
  std::vector<std::string> skip_variants;
  std::string variant;
};

/// Prints {"fits":...,"needed_bytes":...,...} and returns 0, whether it fits or not; or one line on standard error that names the file,
/// and 1.
int print_plan(const PlanCommand& command);

}  // namespace inferd::engine
