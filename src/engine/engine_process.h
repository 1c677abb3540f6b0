// The engine process: reads messages from the daemon, prepares requests on two threads, runs the step loop, writes what comes out.
// Threads: main = step loop; one reader, which answers cancels at once; two that prepare. The end of the socket ends the process.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace inferd::engine {

struct EngineOptions {
  std::filesystem::path variants;          // folder of libggml-cpu-*.so
  std::vector<std::string> skip_variants;
  std::string variant;                     // only this one
  std::string sandbox = "auto";            // auto, required, off
  // For tests: behaves like a CPU that traps.
  std::string die_in_variant;
};

/// Speaks on `channel` (a packet socket) until it closes. The process's exit code.
int run_engine(const EngineOptions& options, int channel);

}  // namespace inferd::engine
