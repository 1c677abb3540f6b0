// The commands of inferdctl: one function each; the exit code is returned. Text for people on a terminal, JSON lines with `json`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "inferd/client.h"

namespace inferd::ctl {

// 0, 1 and 2 mean the same for every command; the others are causes of `run` and `embed`.
enum ExitCode : int {
  kOk = 0,
  kNotReady = 1,   // status: the daemon answers and is not ready
  kDoesNotFit = 1,  // plan: so it is, or nothing can be said of the file
  kSomethingWrong = 1,  // verify, doctor: found; gc: something stays
  kError = 2,      // usage, or anything that has no code of its own
  kUnreachable = 3,
  kInvalidRequest = 4,
  kQueueFull = 5,
  kBackendUnavailable = 6,
  kInternal = 7,
  kLost = 8,
  kInterrupted = 130,
};

struct GlobalOptions {
  std::optional<std::string> config;  // path of the config file
  std::optional<std::string> admin_socket;
  client::Endpoint endpoint;  // v1
  bool json = false;
};

struct WaitOptions {
  uint64_t seconds = 600;  // for a daemon that is loading
  bool for_start = false;  // also for one that does not run yet
};

/// What only v2 has.
struct TypedOptions {
  client::Endpoint endpoint;
  std::vector<std::string> images, sounds, tool_files;
  std::string schema_file;
  std::string tool_choice;  // auto, none, required or a tool's name; empty: not said
  bool thinking = false;    // shown where standard error is no terminal, too
};

struct RunOptions {
  std::optional<std::string> prompt;  // absent: standard input
  std::string system;
  bool interactive = false;
  client::Request request;            // without messages
  std::string grammar_file;
  std::optional<TypedOptions> typed;  // v2 is asked for
  WaitOptions wait;
};

struct EmbedOptions {
  client::Endpoint endpoint;
  bool plain_text = false;  // a line is a text; else JSON
  std::optional<uint32_t> dimensions;
  std::string task;
  uint32_t batch = 256;     // lines of a request
  WaitOptions wait;
};

struct PlanOptions {
  std::string model;                          // a GGUF file
  std::optional<uint32_t> n_ctx, parallel, kv_cells;
  std::optional<uint64_t> host_cache_bytes;
};

struct PullOptions {
  std::optional<std::string> url;  // without: the models of the config file
  std::string sha256;              // with a URL
  std::optional<std::string> name;
};

struct ImportOptions {
  std::string file;
  std::optional<std::string> name, sha256;
};

struct GcOptions {
  bool yes = false;      // without asking
  bool dry_run = false;
};

int run_prompt(const GlobalOptions& global, const RunOptions& options);
/// The part of run_prompt() that speaks v2: with `prompt` as the question, or as a conversation.
int run_typed(const GlobalOptions& global, const RunOptions& options, const std::string& prompt);
int embed_lines(const GlobalOptions& global, const EmbedOptions& options);
int show_status(const GlobalOptions& global);
int watch(const GlobalOptions& global);
int plan_model(const GlobalOptions& global, const PlanOptions& options);
int pull_models(const GlobalOptions& global, const PullOptions& options);
int list_models(const GlobalOptions& global);
int import_model(const GlobalOptions& global, const ImportOptions& options);
/// No names: all models.
int verify_models(const GlobalOptions& global, const std::vector<std::string>& names);
int remove_model(const GlobalOptions& global, const std::string& name);
int collect_garbage(const GlobalOptions& global, const GcOptions& options);
int diagnose(const GlobalOptions& global);

/// "error: ..." on standard error; the exit code that the failure has.
int report(const client::Failure& failure);
int report(const Error& error);
/// "interrupted: ..." on standard error; the exit code of Ctrl-C.
int report_interrupted(const std::string& what_is_left);

/// INFERD_CLI_LOG; not set: warnings.
log::Filter log_filter();
/// Writes the log on standard error, where what others wrote (a server's words, a file's name) must not steer the terminal.
log::Sink& terminal_log();

}  // namespace inferd::ctl
