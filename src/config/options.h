// The daemon's command line and environment (spec 05 §1): one table of options, each with its environment variable.
// Called once by the program, before any thread.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "config/value_source.h"

namespace inferd {

/// Options whose values are keys. The program hides them from /proc/PID/cmdline (os::hide_arguments).
inline constexpr std::array<std::string_view, 3> kSecretOptions = {"--api-key", "--openai-api-key", "--bedrock-bearer-token"};

struct DaemonOptions {
  std::optional<std::string> backend;  // mock, llamacpp, openai-compat, bedrock-invoke
  std::optional<std::filesystem::path> lock, uds, config, admin_addr, model_path, mmproj_path, engine;
  std::optional<std::string> tcp, pipe, group, model_sha256, mmproj_sha256, api_key;
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
  std::string verify = "recorded";      // recorded, always
  int32_t n_gpu_layers = 0;
  bool v2 = false, embed = false;
  std::optional<std::filesystem::path> v2_addr, embed_addr;
  std::optional<std::string> v2_tcp, embed_tcp;
  std::optional<std::string> openai_base_url, openai_api_key, openai_model;
  uint64_t openai_timeout_secs = 300;
  std::optional<std::string> bedrock_region, bedrock_model_id, bedrock_endpoint, bedrock_bearer_token;
  uint64_t bedrock_timeout_secs = 300;
  bool check_config = false;  // print the effective configuration and end
  bool json = false;          // of check_config
  std::optional<std::string> log_filter;  // INFERD_LOG: from the environment only

  // Test-only, hidden in --help.
  std::vector<std::string> mock_tape = {"mock-response"};
  uint64_t mock_delay_ms = 0;
  std::string mock_fault;  // not-ready, invalid, unavailable, drop-after:N
  std::vector<std::string> engine_arguments;

  /// Options that were given, by name ("--n-ctx"), and how. Those with a default of their own look the same given or not, and those that
  /// wipe_secrets() emptied look as if they were not.
  std::map<std::string, ValueSource, std::less<>> given;

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

/// Once the keys were read (keys.h): overwrites those of the options and takes them out. That they were given is still known. Every copy
/// of the options needs it; what the parser of the command line made and freed is not reached.
void wipe_secrets(DaemonOptions& options);

}  // namespace inferd
