// The config file (spec 05 §2): its data, and its reading. Read once, as one stream, when the daemon starts and when the file is checked;
// then merged with the command line (effective.h). Reading blocks (the file may be a pipe): not on the I/O thread.
//
// The fields, their bounds, defaults and texts stand in config_table.cc alone; the structs here only hold what was read. A default that
// is written here is the table's (config_table_test compares them).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"

namespace inferd {

inline constexpr size_t kMaxConfigBytes = 1u << 20;
inline constexpr size_t kMaxBackends = 64;
inline constexpr size_t kMaxListLength = 16;

struct ModelSource {
  std::string name, sha256, source_url;
  std::vector<std::string> source_urls;  // mirrors, after source_url
  std::optional<uint64_t> size_bytes;
  std::optional<std::string> license;
};

/// source_url, then the mirrors; empty if there is no source_url.
std::vector<std::string> urls_of(const ModelSource& model);

struct LlamacppEntry {
  std::string name;
  ModelSource model;
  std::optional<std::filesystem::path> model_path;  // from the command line only: a file outside the store
  std::optional<ModelSource> mmproj;                // the projector of images and sounds
  std::optional<std::filesystem::path> mmproj_path; // as model_path
  std::optional<uint32_t> mmproj_image_max_tokens;  // not set: the projector's own
  std::optional<uint32_t> n_ctx;                    // not set: 8192, or the model's own if that is less
  int32_t n_gpu_layers = 0;
  bool embed = false;
  std::optional<int32_t> embed_pooling;  // not set: the model file's, else mean
  uint32_t embed_n_ctx = 2048;
  std::optional<uint32_t> parallel;  // not set: 8
  std::optional<uint32_t> kv_cells;  // not set or 0: max(n_ctx, min(parallel * n_ctx, 16384))
  std::optional<uint32_t> threads;   // not set or 0: the CPUs that the process may use
  std::string prefix_sharing = "user";
  uint64_t host_cache_bytes = 512u << 20;
  uint64_t step_timeout_secs = 10;
  std::string sandbox = "auto";
};

struct OpenaiEntry {
  std::string name, base_url, model;
  std::optional<std::string> api_key_env;
  std::optional<std::string> api_key_file;
  uint64_t timeout_secs = 300;
  std::optional<uint32_t> parallel;  // not set: 8
};

struct BedrockEntry {
  std::string name, region, model_id;
  std::optional<std::string> bearer_token_env;
  std::optional<std::string> api_key_file;  // holds the bearer token
  std::optional<std::string> endpoint;
  uint64_t timeout_secs = 300;
  std::optional<uint32_t> parallel;  // not set: 8
};

/// From the command line only: the file knows no such kind.
struct MockEntry {
  std::string name = "mock";
};

using BackendEntry = std::variant<LlamacppEntry, OpenaiEntry, BedrockEntry, MockEntry>;

struct ListenSettings {
  std::optional<std::string> tcp, tcp_v2, tcp_embed;
  std::optional<std::string> api_key_env;
  std::optional<std::string> api_key_file;
};

/// Who may use a Unix socket: names or decimal ids (access_ids.h). The daemon's own user and root may always.
struct AccessRule {
  std::vector<std::string> users, groups;
};

/// Not set: whoever can open the socket.
struct AccessSettings {
  std::optional<AccessRule> v1, v2, embed;
};

struct LimitSettings {
  uint64_t queue_depth = 10;
  uint64_t ready_timeout_secs = 30;
  uint64_t drain_timeout_secs = 30;
  uint64_t write_timeout_secs = 60;
  uint64_t max_buffered_bytes = 512u << 20;
};

struct ConfigFile {
  std::filesystem::path path;
  bool auto_pull = true;
  std::optional<std::string> models_home;
  std::optional<ModelSource> model;   // the legacy form; empty once it was promoted to backends[0]
  std::optional<uint32_t> n_ctx;      // of the legacy form
  int32_t n_gpu_layers = 0;           // of the legacy form
  std::optional<std::string> admin_addr;  // read, and without effect (spec 05 §2)
  ListenSettings listen;
  LimitSettings limits;
  AccessSettings access;
  std::optional<std::string> log_filter;  // not set: info
  std::string verify = "recorded";        // recorded, always
  std::vector<BackendEntry> backends;     // best first

  std::set<std::string, std::less<>> given;  // JSON paths of the fields that the file sets ("backends[0].n_ctx")
  std::vector<std::string> warnings;         // one line each: unknown fields, fields without effect
};

const std::string& name_of(const BackendEntry& entry);

/// The struct inside the variant, for a Binding of it.
void* address_of(BackendEntry& entry);
const void* address_of(const BackendEntry& entry);

/// A leading "~/" or "~\" becomes the home folder.
std::filesystem::path expand_home(const std::string& path);

/// Reads the text of a config file. `path` is named in errors: "PATH: backends[1].n_ctx: 0: expected an integer from 1 to 4294967295".
/// kIntegrity: no JSON; kUsage: a field that is missing, of the wrong type, given twice or out of its bounds.
Result<ConfigFile> read_config(std::string_view text, const std::filesystem::path& path);

/// Opens, reads and checks the file. Nothing only if there is no such file; one that is there but cannot be read, is a folder or is
/// larger than kMaxConfigBytes is an error like a wrong one.
Result<std::optional<ConfigFile>> load_config_file(const std::filesystem::path& path);

}  // namespace inferd
