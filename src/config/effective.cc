#include "config/effective.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/sha256_hex.h"
#include "config/check_options.h"
#include "config/config_table.h"
#include "os/paths.h"

namespace inferd {
namespace {

using From = ValueSource::From;

// The option of each kind that names a model, and so a backend.
struct NamesModel {
  std::string_view kind, option;
};
constexpr std::array<NamesModel, 3> kNamesModel = {{
    {"llamacpp", "--model-path"},
    {"openai-compat", "--openai-base-url"},
    {"bedrock-invoke", "--bedrock-model-id"},
}};

class Merge {
 public:
  Merge(Effective& effective, bool has_file)
      : effective_(effective), options_(effective.options), config_(effective.config), has_file_(has_file) {}
  Status run();

 private:
  bool given(std::string_view option) const { return options_.given.contains(option); }
  Status choose_backends();
  Status replace_backends(std::string_view kind);
  Result<BackendEntry> llamacpp_of_options();
  Result<BackendEntry> openai_of_options();
  Result<BackendEntry> bedrock_of_options();
  void from_option(const std::string& path, std::string_view option);
  Status apply_options(const ConfigObject& object, void* owner, const std::string& path);
  Status check_llamacpp(const LlamacppEntry& entry, const std::string& path) const;
  void take_settings(const ConfigObject& object, void* owner, const std::string& path);
  void take_log_filter();
  void take_listeners();
  void warn_access_on_tcp();
  void warn_without_effect();
  void warn(const std::string& what) { config_.warnings.push_back(what); }

  Effective& effective_;
  DaemonOptions& options_;
  ConfigFile& config_;
  bool has_file_;
};

Status Merge::run() {
  for (const std::string& path : config_.given) effective_.sources[path] = {From::kFile, config_.path.string()};
  if (options_.active_permits) options_.active_permits = std::max<uint64_t>(1, *options_.active_permits);  // 0 is 1, as published
  if (auto chosen = choose_backends(); !chosen) return chosen;
  for (size_t i = 0; i < config_.backends.size(); ++i) {
    BackendEntry& entry = config_.backends[i];
    const std::string path = path_of_element("backends", i);
    const ConfigObject* object = object_of(entry);
    if (object == nullptr) continue;
    if (auto applied = apply_options(*object, address_of(entry), path); !applied) return applied;
    if (const auto* llamacpp = std::get_if<LlamacppEntry>(&entry)) {
      if (auto checked = check_llamacpp(*llamacpp, path); !checked) return checked;
    }
  }
  take_settings(config_root(), &config_, "");
  take_log_filter();
  take_listeners();
  warn_access_on_tcp();
  warn_without_effect();
  return {};
}

Status Merge::choose_backends() {
  std::vector<NamesModel> named;
  for (const NamesModel& one : kNamesModel) {
    if (given(one.option)) named.push_back(one);
  }
  const std::string backend = options_.backend.value_or("");
  for (const NamesModel& one : named) {
    const bool fits_backend = backend.empty() ? has_file_ : backend == one.kind;
    if (!fits_backend) {
      return fail(Code::kUsage, effective_.options.given.find(one.option)->second.name + " is used by --backend " + std::string(one.kind) +
                                    " only, which was not given");
    }
  }
  if (named.size() > 1) {
    return fail(Code::kUsage, std::string(named[0].option) + " and " + std::string(named[1].option) + " name a model each: give --backend");
  }
  if (!named.empty()) return replace_backends(named[0].kind);
  if (has_file_ && backend != "mock") return {};
  return replace_backends(backend.empty() ? "mock" : backend);
}

Status Merge::replace_backends(std::string_view kind) {
  std::erase_if(effective_.sources, [](const auto& item) { return item.first.starts_with("backends"); });
  config_.backends.clear();
  Result<BackendEntry> entry = MockEntry();
  if (kind == "llamacpp") entry = llamacpp_of_options();
  if (kind == "openai-compat") entry = openai_of_options();
  if (kind == "bedrock-invoke") entry = bedrock_of_options();
  if (!entry) return std::unexpected(entry.error());
  config_.backends.push_back(std::move(*entry));
  return {};
}

void Merge::from_option(const std::string& path, std::string_view option) {
  const auto found = options_.given.find(option);
  if (found != options_.given.end()) effective_.sources["backends[0]." + path] = found->second;
}

Result<BackendEntry> Merge::llamacpp_of_options() {
  if (!options_.model_path) return fail(Code::kUsage, "--backend llamacpp needs --model-path FILE and --model-sha256 HEX");
  if (!options_.model_sha256) {
    return fail(Code::kUsage, "--model-path needs --model-sha256 (sha256sum " + options_.model_path->string() + ")");
  }
  auto sha256 = sha256_hex(*options_.model_sha256);
  if (!sha256) return fail(Code::kUsage, "--model-sha256: expected 64 hex digits");
  LlamacppEntry entry;
  entry.name = "llamacpp";
  entry.model_path = options_.model_path;
  entry.model.name = options_.model_path->stem().string();
  entry.model.sha256 = std::move(*sha256);
  entry.embed = options_.embed;
  if (options_.mmproj_path) {
    if (!options_.mmproj_sha256) {
      return fail(Code::kUsage, "--mmproj-path needs --mmproj-sha256 (sha256sum " + options_.mmproj_path->string() + ")");
    }
    auto projector = sha256_hex(*options_.mmproj_sha256);
    if (!projector) return fail(Code::kUsage, "--mmproj-sha256: expected 64 hex digits");
    entry.mmproj_path = options_.mmproj_path;
    entry.mmproj.emplace();
    entry.mmproj->name = options_.mmproj_path->stem().string();
    entry.mmproj->sha256 = std::move(*projector);
    from_option("mmproj.name", "--mmproj-path");
    from_option("mmproj.sha256", "--mmproj-sha256");
  }
  from_option("embed", "--embed");
  from_option("model_path", "--model-path");
  from_option("model.name", "--model-path");
  from_option("model.sha256", "--model-sha256");
  return entry;
}

Result<BackendEntry> Merge::openai_of_options() {
  if (!options_.openai_base_url || !options_.openai_model) {
    return fail(Code::kUsage, "--backend openai-compat needs --openai-base-url URL and --openai-model NAME");
  }
  OpenaiEntry entry;
  entry.name = "openai-compat";
  entry.base_url = *options_.openai_base_url;
  entry.model = *options_.openai_model;
  from_option("base_url", "--openai-base-url");
  from_option("model", "--openai-model");
  return entry;
}

Result<BackendEntry> Merge::bedrock_of_options() {
  if (!options_.bedrock_region || !options_.bedrock_model_id) {
    return fail(Code::kUsage, "--backend bedrock-invoke needs --bedrock-region NAME and --bedrock-model-id ID");
  }
  BedrockEntry entry;
  entry.name = "bedrock-invoke";
  entry.region = *options_.bedrock_region;
  entry.model_id = *options_.bedrock_model_id;
  if (options_.bedrock_endpoint.value_or("") != "") entry.endpoint = options_.bedrock_endpoint;
  from_option("region", "--bedrock-region");
  from_option("model_id", "--bedrock-model-id");
  from_option("endpoint", "--bedrock-endpoint");
  return entry;
}

Status Merge::apply_options(const ConfigObject& object, void* owner, const std::string& path) {
  for (const ConfigField& field : object.fields) {
    if (field.option_value.get == nullptr) continue;
    const auto given = options_.given.find(field.option);
    if (given == options_.given.end()) continue;
    const FieldValue value = field.option_value.get(&options_);
    if (!fits(field, value)) {
      return fail(Code::kUsage, given->second.name + " " + shown(field, value) + ": expected " + expectation(field));
    }
    field.binding.set(owner, value);
    effective_.sources[path_of_member(path, field.name)] = given->second;
  }
  return {};
}

// What no bound of a single field says.
Status Merge::check_llamacpp(const LlamacppEntry& entry, const std::string& path) const {
  if (entry.n_gpu_layers > 0) {
    return fail(Code::kNotInThisBuild, effective_.place_of(path + ".n_gpu_layers", std::to_string(entry.n_gpu_layers)) +
                                           ": this build has no GPU support");
  }
  const uint32_t cells = entry.kv_cells.value_or(0);
  if (cells > 0 && entry.n_ctx && cells < *entry.n_ctx) {
    return fail(Code::kUsage, effective_.place_of(path + ".kv_cells", std::to_string(cells)) + " is less than " +
                                  effective_.place_of(path + ".n_ctx", std::to_string(*entry.n_ctx)) +
                                  ": one request could not use its context");
  }
  return {};
}

// Of the whole daemon, not of an entry.
void Merge::take_settings(const ConfigObject& object, void* owner, const std::string& path) {
  for (const ConfigField& field : object.fields) {
    const std::string at = path_of_member(path, field.name);
    if (field.binding.type == FieldType::kObject) {
      if (field.binding.find(owner) != nullptr) take_settings(*field.object, field.binding.open(owner), at);
      continue;
    }
    if (field.option_value.get == nullptr) continue;
    if (const auto given = options_.given.find(field.option); given != options_.given.end()) {
      field.binding.set(owner, field.option_value.get(&options_));
      effective_.sources[at] = given->second;
    } else {
      field.option_value.set(&options_, field.binding.get(owner));
    }
  }
}

// Not held to the field's rule: what of INFERD_LOG nobody understands is left out, as published.
void Merge::take_log_filter() {
  if (!options_.log_filter) return;
  config_.log_filter = options_.log_filter;
  effective_.sources["log_filter"] = {From::kEnvironment, "INFERD_LOG"};
}

void Merge::take_listeners() {
  const auto take = [&](const char* name, std::optional<std::string>& from, std::optional<std::string>& into, bool beaten) {
    if (!from) return;
    if (beaten) {
      const std::string path = std::string("listen.") + name;
      warn(effective_.place_of(path) + ": not used: the command line or the environment says where that is served");
      effective_.sources.erase(path);
      from.reset();
    } else {
      into = from;
    }
  };
  ListenSettings& listen = config_.listen;
  take("tcp", listen.tcp, options_.tcp, options_.tcp || options_.uds || options_.pipe);
  take("tcp_v2", listen.tcp_v2, options_.v2_tcp, options_.v2_tcp || options_.v2_addr);
  take("tcp_embed", listen.tcp_embed, options_.embed_tcp, options_.embed_tcp || options_.embed_addr);
}

void Merge::warn_access_on_tcp() {
  const auto warn_of = [&](const char* path, const std::optional<AccessRule>& rule, bool on_tcp) {
    if (rule && on_tcp) warn(effective_.place_of(path) + " has no effect: that surface is served on TCP, where nobody vouches for a uid");
  };
  const AccessSettings& access = config_.access;
  warn_of("access.v1", access.v1, options_.tcp.has_value());
  warn_of("access.v2", access.v2, options_.v2 && options_.v2_tcp);
  warn_of("access.embed", access.embed, options_.embed && options_.embed_tcp);
}

// Options that describe a backend which is not there.
void Merge::warn_without_effect() {
  const auto has = [&](std::string_view kind) { return std::ranges::find(config_.backends, kind, kind_of) != config_.backends.end(); };
  const auto warn_of = [&](std::string_view option, bool used) {
    const auto found = options_.given.find(option);
    if (found != options_.given.end() && !used) warn(found->second.name + " has no effect here");
  };
  for (const auto option : {"--n-ctx", "--n-gpu-layers", "--kv-cells", "--threads", "--host-cache-bytes", "--prefix-sharing",
                            "--step-timeout-secs", "--sandbox"}) {
    warn_of(option, has("llamacpp"));
  }
  for (const auto option : {"--v2-addr", "--v2-tcp"}) warn_of(option, options_.v2);
  for (const auto option : {"--embed-addr", "--embed-tcp"}) warn_of(option, options_.embed);
  warn_of("--model-sha256", given("--model-path"));
  warn_of("--mmproj-path", given("--model-path"));
  warn_of("--mmproj-sha256", given("--mmproj-path"));
  warn_of("--openai-model", given("--openai-base-url"));
  warn_of("--openai-timeout-secs", has("openai-compat"));
  warn_of("--bedrock-region", given("--bedrock-model-id"));
  warn_of("--bedrock-endpoint", given("--bedrock-model-id"));
  warn_of("--bedrock-timeout-secs", has("bedrock-invoke"));
}

}  // namespace

std::string Effective::place_of(std::string_view path) const {
  const auto found = sources.find(path);
  if (found == sources.end()) return std::string(path);
  return found->second.from == From::kFile ? found->second.name + ": " + std::string(path) : found->second.name;
}

std::string Effective::place_of(std::string_view path, const std::string& value) const {
  const auto found = sources.find(path);
  const bool is_option = found != sources.end() && found->second.from != From::kFile;
  return place_of(path) + (is_option ? " " : ": ") + value;
}

Result<Effective> merge(DaemonOptions options, std::optional<ConfigFile> file) {
  Effective effective;
  effective.options = std::move(options);
  const bool has_file = file.has_value();
  if (file) effective.config = std::move(*file);
  if (auto merged = Merge(effective, has_file).run(); !merged) return std::unexpected(merged.error());
  return effective;
}

Result<Effective> load_effective(DaemonOptions options) {
  if (auto checked = check_options(options); !checked) return std::unexpected(checked.error());
  const std::filesystem::path path = options.config.value_or(os::default_config_file());
  auto file = load_config_file(path);
  if (!file) return std::unexpected(file.error());
  const bool missing = options.config && !*file;
  if (missing && !options.backend) return fail(Code::kNotFound, "config file " + path.string() + " is not there");
  auto effective = merge(std::move(options), std::move(*file));
  if (effective && missing) effective->config.warnings.push_back("config file " + path.string() + " is not there: going on without");
  return effective;
}

}  // namespace inferd
