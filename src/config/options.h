// The daemon's command line and environment (spec 05 §1): one table of options, each with its environment variable.
// Called once by the program, before any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace inferd {

struct DaemonOptions {
  std::optional<std::string> backend;  // mock, llamacpp, openai-compat, bedrock-invoke
  std::optional<std::filesystem::path> lock, uds, config, admin_addr, model_path, engine;
  std::optional<std::string> tcp, pipe, group, model_sha256, api_key;
  std::optional<uint64_t> active_permits;
  uint64_t queue_depth = 10;
  uint64_t ready_timeout_secs = 30;   // without progress of loading
  uint64_t drain_timeout_secs = 30;
  uint64_t write_timeout_secs = 60;
  uint64_t max_buffered_bytes = 512u << 20;
  std::optional<uint32_t> n_ctx, kv_cells, threads;
  uint64_t host_cache_bytes = 512u << 20;
  std::string prefix_sharing = "user";  // user, all
  uint64_t step_timeout_secs = 10;
  std::string sandbox = "auto";         // auto, required, off
  int32_t n_gpu_layers = 0;
  bool v2 = false, embed = false;

  // Test-only, hidden in --help.
  std::vector<std::string> mock_tape = {"mock-response"};
  uint64_t mock_delay_ms = 0;
  std::string mock_fault;  // not-ready, invalid, unavailable, drop-after:N
  std::vector<std::string> engine_arguments;

  /// Options that this build parses but cannot serve, as the user gave them ("--v2", "INFERD_EMBED").
  std::vector<std::string> not_in_this_build;
};

/// What the command line asked for: options, or a text to print and end with (help, version).
struct ParsedCommandLine {
  std::optional<DaemonOptions> options;
  std::string text;
};

/// Errors are kUsage: the program prints them and exits with 2.
Result<ParsedCommandLine> parse_command_line(int argc, const char* const* argv);

}  // namespace inferd
