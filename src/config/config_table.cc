#include "config/config_table.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/json_text.h"
#include "base/log.h"
#include "base/sha256_hex.h"
#include "base/url_text.h"
#include "base/utf8.h"
#include "config/options.h"

namespace inferd {
namespace {

constexpr int64_t kMostU32 = 4'294'967'295;
constexpr int64_t kMostBytes = std::numeric_limits<int64_t>::max();
constexpr int64_t kMostSeconds = 1'000'000'000;  // beyond it a clock overflows
constexpr int64_t kMostRemote = 1'024;
constexpr size_t kMostShown = 80;

constexpr std::array<std::string_view, 2> kSharing = {"user", "all"};
constexpr std::array<std::string_view, 3> kSandbox = {"auto", "required", "off"};
constexpr std::array<std::string_view, 2> kVerify = {"recorded", "always"};

constexpr ConfigField kModelFields[] = {
    {.name = "name", .binding = member<&ModelSource::name>(), .required = true, .rule = TextRule::kNotEmpty,
     .doc = "Name of the model, in the store and in messages."},
    {.name = "sha256", .binding = member<&ModelSource::sha256>(), .required = true, .rule = TextRule::kSha256,
     .doc = "SHA-256 of the file. A file with another one is never loaded."},
    {.name = "size_bytes", .binding = member<&ModelSource::size_bytes>(), .min = 0, .max = kMostBytes,
     .doc = "Size of the file, for the check of free space and for progress."},
    {.name = "source_url", .binding = member<&ModelSource::source_url>(), .required = true, .rule = TextRule::kHttpsUrl,
     .doc = "Where the file is fetched from."},
    {.name = "source_urls", .binding = member<&ModelSource::source_urls>(), .rule = TextRule::kHttpsUrl,
     .doc = "Mirrors, tried in this order after `source_url`."},
    {.name = "license", .binding = member<&ModelSource::license>(), .doc = "License of the model; written to its manifest."},
};
constexpr ConfigObject kModel = {"model", "", kModelFields};

constexpr ConfigField kLlamacppFields[] = {
    {.name = "name", .binding = member<&LlamacppEntry::name>(), .required = true, .rule = TextRule::kNotEmpty,
     .doc = "Name of the entry, unique in the file: `route` of an answer, `name` on admin."},
    {.name = "model", .binding = member<&LlamacppEntry::model>(), .required = true, .doc = "The model.",
     .option = "--model-path (replaces all entries)", .object = &kModel},
    {.name = "mmproj", .binding = member<&LlamacppEntry::mmproj>(), .doc = "The projector that belongs to the model: images and sounds.",
     .option = "--mmproj-path (with --model-path)", .object = &kModel},
    {.name = "mmproj_image_max_tokens", .binding = member<&LlamacppEntry::mmproj_image_max_tokens>(), .min = 1, .max = kMostU32,
     .doc = "Tokens of one image at most, for projectors that take images of any size. Without the field: the projector's own number."},
    {.name = "n_ctx", .binding = member<&LlamacppEntry::n_ctx>(), .min = 1, .max = kMostU32, .fallback = "8192",
     .doc = "Tokens of one request, prompt plus answer. Without the field: the model's own number if that is less.",
     .option = "--n-ctx", .option_value = member<&DaemonOptions::n_ctx>()},
    {.name = "n_gpu_layers", .binding = member<&LlamacppEntry::n_gpu_layers>(), .min = -2'147'483'648, .max = 2'147'483'647,
     .fallback = "0", .doc = "Layers on a GPU. More than 0 without a GPU is a start error.",
     .option = "--n-gpu-layers", .option_value = member<&DaemonOptions::n_gpu_layers>()},
    {.name = "embed", .binding = member<&LlamacppEntry::embed>(), .fallback = "false", .doc = "Serve embeddings from this entry."},
    {.name = "embed_pooling", .binding = member<&LlamacppEntry::embed_pooling>(), .min = -1, .max = 3,
     .doc = "Pooling of embeddings: -1 the model file's, 1 mean, 2 CLS, 3 last. Without the field: the model file's, else mean."},
    {.name = "embed_n_ctx", .binding = member<&LlamacppEntry::embed_n_ctx>(), .min = 1, .max = kMostU32, .fallback = "2048",
     .doc = "Tokens of one text to embed."},
    {.name = "parallel", .binding = member<&LlamacppEntry::parallel>(), .min = 1, .max = kMostSequences, .fallback = "8",
     .doc = "Requests that run at once.", .option = "--active-permits", .option_value = member<&DaemonOptions::active_permits>()},
    {.name = "kv_cells", .binding = member<&LlamacppEntry::kv_cells>(), .min = 0, .max = kMostU32,
     .doc = "Tokens held over all requests; at least n_ctx. Without the field, or 0: max(n_ctx, min(parallel * n_ctx, 16384)).",
     .option = "--kv-cells", .option_value = member<&DaemonOptions::kv_cells>()},
    {.name = "threads", .binding = member<&LlamacppEntry::threads>(), .min = 0, .max = kMostThreads,
     .doc = "Threads of the engine. Without the field, or 0: the CPUs that the daemon may use.",
     .option = "--threads", .option_value = member<&DaemonOptions::threads>()},
    {.name = "prefix_sharing", .binding = member<&LlamacppEntry::prefix_sharing>(), .rule = TextRule::kChoice, .choices = kSharing,
     .fallback = "\"user\"", .doc = "Whose prompts may share computed beginnings: those of one user (uid or key), or all.",
     .option = "--prefix-sharing", .option_value = member<&DaemonOptions::prefix_sharing>()},
    {.name = "host_cache_bytes", .binding = member<&LlamacppEntry::host_cache_bytes>(), .min = 0, .max = kMostBytes,
     .fallback = "536870912", .doc = "Memory for finished prompts outside the KV cells; 0: none.",
     .option = "--host-cache-bytes", .option_value = member<&DaemonOptions::host_cache_bytes>()},
    {.name = "step_timeout_secs", .binding = member<&LlamacppEntry::step_timeout_secs>(), .min = 1, .max = kMostSeconds,
     .fallback = "10", .doc = "An engine that makes no step for so long is ended and started anew.",
     .option = "--step-timeout-secs", .option_value = member<&DaemonOptions::step_timeout_secs>()},
    {.name = "sandbox", .binding = member<&LlamacppEntry::sandbox>(), .rule = TextRule::kChoice, .choices = kSandbox,
     .fallback = "\"auto\"", .doc = "Confine the engine: auto warns where the system cannot, required fails.",
     .option = "--sandbox", .option_value = member<&DaemonOptions::sandbox>()},
};
constexpr ConfigObject kLlamacpp = {"backend of kind llamacpp", "llamacpp", kLlamacppFields};

constexpr ConfigField kOpenaiFields[] = {
    {.name = "name", .binding = member<&OpenaiEntry::name>(), .required = true, .rule = TextRule::kNotEmpty,
     .doc = "Name of the entry, unique in the file."},
    {.name = "base_url", .binding = member<&OpenaiEntry::base_url>(), .required = true, .rule = TextRule::kHttpUrl,
     .doc = "Where the provider's API begins.", .option = "--openai-base-url (replaces all entries)"},
    {.name = "model", .binding = member<&OpenaiEntry::model>(), .required = true, .rule = TextRule::kNotBlank,
     .doc = "Model to ask the provider for."},
    {.name = "api_key_env", .binding = member<&OpenaiEntry::api_key_env>(), .rule = TextRule::kVariable,
     .doc = "Variable that holds the key. Without the field: INFERD_OPENAI_API_KEY, then OPENAI_API_KEY, then no key."},
    {.name = "api_key_file", .binding = member<&OpenaiEntry::api_key_file>(), .rule = TextRule::kPath,
     .doc = "File that holds the key; read again on SIGHUP.", .excludes = "api_key_env"},
    {.name = "timeout_secs", .binding = member<&OpenaiEntry::timeout_secs>(), .min = 1, .max = kMostSeconds, .fallback = "300",
     .doc = "Time for a whole request.", .option = "--openai-timeout-secs",
     .option_value = member<&DaemonOptions::openai_timeout_secs>()},
    {.name = "parallel", .binding = member<&OpenaiEntry::parallel>(), .min = 1, .max = kMostRemote, .fallback = "8",
     .doc = "Requests that run at once.", .option = "--active-permits", .option_value = member<&DaemonOptions::active_permits>()},
};
constexpr ConfigObject kOpenai = {"backend of kind openai-compat", "openai-compat", kOpenaiFields};

constexpr ConfigField kBedrockFields[] = {
    {.name = "name", .binding = member<&BedrockEntry::name>(), .required = true, .rule = TextRule::kNotEmpty,
     .doc = "Name of the entry, unique in the file."},
    {.name = "region", .binding = member<&BedrockEntry::region>(), .required = true, .rule = TextRule::kNotBlank, .doc = "AWS region."},
    {.name = "model_id", .binding = member<&BedrockEntry::model_id>(), .required = true, .rule = TextRule::kNotBlank,
     .doc = "Model to invoke.", .option = "--bedrock-model-id (replaces all entries)"},
    {.name = "bearer_token_env", .binding = member<&BedrockEntry::bearer_token_env>(), .rule = TextRule::kVariable,
     .doc = "Variable that holds a bearer token. Without the field, or if it is empty: the AWS key pair of the environment."},
    {.name = "api_key_file", .binding = member<&BedrockEntry::api_key_file>(), .rule = TextRule::kPath,
     .doc = "File that holds the bearer token; read again on SIGHUP.", .excludes = "bearer_token_env"},
    {.name = "endpoint", .binding = member<&BedrockEntry::endpoint>(),
     .doc = "Host to send to instead of the region's; with a scheme `http://` loopback addresses only."},
    {.name = "timeout_secs", .binding = member<&BedrockEntry::timeout_secs>(), .min = 1, .max = kMostSeconds, .fallback = "300",
     .doc = "Time for a whole request.", .option = "--bedrock-timeout-secs",
     .option_value = member<&DaemonOptions::bedrock_timeout_secs>()},
    {.name = "parallel", .binding = member<&BedrockEntry::parallel>(), .min = 1, .max = kMostRemote, .fallback = "8",
     .doc = "Requests that run at once.", .option = "--active-permits", .option_value = member<&DaemonOptions::active_permits>()},
};
constexpr ConfigObject kBedrock = {"backend of kind bedrock-invoke", "bedrock-invoke", kBedrockFields};

constexpr ConfigField kListenFields[] = {
    {.name = "tcp", .binding = member<&ListenSettings::tcp>(), .rule = TextRule::kNotBlank, .doc = "Serve v1 on IP:PORT.",
     .option = "--tcp, --uds, --pipe"},
    {.name = "tcp_v2", .binding = member<&ListenSettings::tcp_v2>(), .rule = TextRule::kNotBlank, .doc = "Serve v2 on IP:PORT.",
     .option = "--v2-tcp, --v2-addr"},
    {.name = "tcp_embed", .binding = member<&ListenSettings::tcp_embed>(), .rule = TextRule::kNotBlank,
     .doc = "Serve embeddings on IP:PORT.", .option = "--embed-tcp, --embed-addr"},
    {.name = "api_key_env", .binding = member<&ListenSettings::api_key_env>(), .rule = TextRule::kVariable,
     .doc = "Variable that holds the key that TCP clients must send first.", .option = "--api-key"},
    {.name = "api_key_file", .binding = member<&ListenSettings::api_key_file>(), .rule = TextRule::kPath,
     .doc = "File that holds that key; read again on SIGHUP.", .excludes = "api_key_env", .option = "--api-key"},
};
constexpr ConfigObject kListen = {"listen", "", kListenFields};

constexpr ConfigField kLimitFields[] = {
    {.name = "queue_depth", .binding = member<&LimitSettings::queue_depth>(), .min = 0, .max = 1'000'000'000, .fallback = "10",
     .doc = "Requests that may wait, over all backends.", .option = "--queue-depth", .option_value = member<&DaemonOptions::queue_depth>()},
    {.name = "ready_timeout_secs", .binding = member<&LimitSettings::ready_timeout_secs>(), .min = 0, .max = kMostSeconds, .fallback = "30",
     .doc = "Give up the start when loading makes no progress for so long.", .option = "--ready-timeout-secs",
     .option_value = member<&DaemonOptions::ready_timeout_secs>()},
    {.name = "drain_timeout_secs", .binding = member<&LimitSettings::drain_timeout_secs>(), .min = 0, .max = kMostSeconds, .fallback = "30",
     .doc = "Time for running and waiting requests after SIGTERM.", .option = "--drain-timeout-secs",
     .option_value = member<&DaemonOptions::drain_timeout_secs>()},
    {.name = "write_timeout_secs", .binding = member<&LimitSettings::write_timeout_secs>(), .min = 0, .max = kMostSeconds, .fallback = "60",
     .doc = "Close a client that reads nothing for so long.", .option = "--write-timeout-secs",
     .option_value = member<&DaemonOptions::write_timeout_secs>()},
    {.name = "max_buffered_bytes", .binding = member<&LimitSettings::max_buffered_bytes>(), .min = 0, .max = kMostBytes,
     .fallback = "536870912", .doc = "Unfinished input held over all connections.", .option = "--max-buffered-bytes",
     .option_value = member<&DaemonOptions::max_buffered_bytes>()},
};
constexpr ConfigObject kLimits = {"limits", "", kLimitFields};

constexpr ConfigField kAccessRuleFields[] = {
    {.name = "users", .binding = member<&AccessRule::users>(), .rule = TextRule::kNotBlank,
     .doc = "Users, each by name or decimal id. The daemon's own user and root are never refused."},
    {.name = "groups", .binding = member<&AccessRule::groups>(), .rule = TextRule::kNotBlank,
     .doc = "Groups, each by name or decimal id: whoever is in one of them, by its primary or a supplementary group."},
};
constexpr ConfigObject kAccessRule = {"access list", "", kAccessRuleFields};

constexpr ConfigField kAccessFields[] = {
    {.name = "v1", .binding = member<&AccessSettings::v1>(), .doc = "Who may use the v1 socket. Without the field: whoever can open it.",
     .object = &kAccessRule},
    {.name = "v2", .binding = member<&AccessSettings::v2>(), .doc = "The same for the v2 socket.", .object = &kAccessRule},
    {.name = "embed", .binding = member<&AccessSettings::embed>(), .doc = "The same for the embed socket.", .object = &kAccessRule},
};
constexpr ConfigObject kAccess = {"access", "", kAccessFields};

// In the order in which they are checked (spec 05 §2).
constexpr ConfigField kRootFields[] = {
    {.name = "auto_pull", .binding = member<&ConfigFile::auto_pull>(), .fallback = "true",
     .doc = "Fetch missing models at the start; false: a missing model is a start error."},
    {.name = "models_home", .binding = member<&ConfigFile::models_home>(), .rule = TextRule::kNotEmpty,
     .doc = "Folder of the model store; a leading `~/` is the home folder. Without the field: $MODELS_HOME, then $XDG_DATA_HOME/models, "
            "then ~/.local/share/models."},
    {.name = "admin_addr", .binding = member<&ConfigFile::admin_addr>(), .doc = "Read and without effect: admin is bound before this file "
     "is opened. Use the option.", .option = "--admin-addr", .legacy = true},
    {.name = "n_ctx", .binding = member<&ConfigFile::n_ctx>(), .min = 1, .max = kMostU32, .fallback = "8192",
     .doc = "`n_ctx` of the single `model`.", .option = "--n-ctx", .legacy = true},
    {.name = "n_gpu_layers", .binding = member<&ConfigFile::n_gpu_layers>(), .min = -2'147'483'648, .max = 2'147'483'647, .fallback = "0",
     .doc = "`n_gpu_layers` of the single `model`.", .option = "--n-gpu-layers", .legacy = true},
    {.name = "model", .binding = member<&ConfigFile::model>(), .doc = "A single model instead of `backends`: one llamacpp entry that bears "
     "the model's name.", .object = &kModel, .legacy = true},
    {.name = "listen", .binding = member<&ConfigFile::listen>(), .doc = "TCP addresses and their key.", .object = &kListen},
    {.name = "limits", .binding = member<&ConfigFile::limits>(), .doc = "Bounds of the whole daemon; read again on SIGHUP.",
     .object = &kLimits},
    {.name = "access", .binding = member<&ConfigFile::access>(), .doc = "Who may use the Unix sockets. Without effect on TCP.",
     .object = &kAccess},
    {.name = "log_filter", .binding = member<&ConfigFile::log_filter>(), .rule = TextRule::kLogFilter, .fallback = "\"info\"",
     .doc = "What is logged; read again on SIGHUP.", .option = "INFERD_LOG"},
    {.name = "verify", .binding = member<&ConfigFile::verify>(), .rule = TextRule::kChoice, .choices = kVerify, .fallback = "\"recorded\"",
     .doc = "A model file that was verified before and has not changed since: recorded trusts that, always hashes it again.",
     .option = "--verify", .option_value = member<&DaemonOptions::verify>()},
    {.name = "backends", .binding = member<&ConfigFile::backends>(), .doc = "The backends, best first; at least one."},
};
constexpr ConfigObject kRoot = {"inferd configuration file", "", kRootFields};

constexpr std::array<BackendKind, 3> kKinds = {{
    {&kLlamacpp, [] { return BackendEntry(LlamacppEntry()); }},
    {&kOpenai, [] { return BackendEntry(OpenaiEntry()); }},
    {&kBedrock, [] { return BackendEntry(BedrockEntry()); }},
}};

bool is_variable_name(std::string_view text) {
  const auto letter = [](unsigned char c) { return std::isalpha(c) != 0 || c == '_'; };
  return !text.empty() && letter(static_cast<unsigned char>(text[0])) &&
         std::ranges::all_of(text, [&](unsigned char c) { return letter(c) || std::isdigit(c) != 0; });
}

bool text_fits(const ConfigField& field, std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return false;  // it would end a path or a header early
  switch (field.rule) {
    case TextRule::kAny:
      return true;
    case TextRule::kNotEmpty:
      return !text.empty();
    case TextRule::kNotBlank:
      return text.find_first_not_of(" \t\r\n\v\f") != std::string_view::npos;
    case TextRule::kHttpsUrl:
      return text.starts_with("https://");
    case TextRule::kHttpUrl:
      return text.starts_with("https://") || text.starts_with("http://");
    case TextRule::kSha256:
      return sha256_hex(text) == text;
    case TextRule::kVariable:
      return is_variable_name(text);
    case TextRule::kPath:
      return text.starts_with('/') || text.starts_with("~/");
    case TextRule::kChoice:
      return std::ranges::find(field.choices, text) != field.choices.end();
    case TextRule::kLogFilter:
      return log::Filter::is_valid(text);
  }
  return false;
}

std::string text_expectation(const ConfigField& field) {
  switch (field.rule) {
    case TextRule::kAny:
      return "a string without NUL";
    case TextRule::kNotEmpty:
      return "a string that is not empty";
    case TextRule::kNotBlank:
      return "a string that is not blank";
    case TextRule::kHttpsUrl:
      return "a URL that begins with https://";
    case TextRule::kHttpUrl:
      return "a URL that begins with http:// or https://";
    case TextRule::kSha256:
      return "64 lowercase hex digits";
    case TextRule::kVariable:
      return "the name of an environment variable (letters, digits and _), not the key itself";
    case TextRule::kPath:
      return "a path that begins with / or ~/";
    case TextRule::kChoice: {
      std::string list;
      for (const std::string_view choice : field.choices) {
        list += (list.empty() ? "" : " or ") + std::string("\"") + std::string(choice) + "\"";
      }
      return list;
    }
    case TextRule::kLogFilter:
      return "a level (off, error, warn, info, debug, trace or 0 to 5) or component=level, or several with commas between them";
  }
  return {};
}

std::string url_without_secrets(std::string_view url) {
  const UrlText parts = split_url(url);
  return std::string(parts.before) + (parts.user.empty() ? "" : "...@") + std::string(parts.rest) + (parts.query.empty() ? "" : "?...");
}

void append_shown(std::string& out, const ConfigField& field, std::string_view text) {
  std::string safe(text);
  if (field.rule == TextRule::kHttpsUrl || field.rule == TextRule::kHttpUrl) safe = url_without_secrets(text);
  if (field.rule == TextRule::kVariable) safe = shown_variable(text);
  if (safe.size() > kMostShown) safe = std::string(cut_utf8(safe, kMostShown)) + "...";
  append_json_text(out, safe);
}

}  // namespace

const ConfigObject& config_root() { return kRoot; }
std::span<const BackendKind> backend_kinds() { return kKinds; }

const ConfigObject* object_of(const BackendEntry& entry) {
  return entry.index() < kKinds.size() ? kKinds[entry.index()].object : nullptr;  // the variant has the order of the kinds
}

std::string_view kind_of(const BackendEntry& entry) {
  const ConfigObject* object = object_of(entry);
  return object != nullptr ? object->kind : "mock";
}

bool fits(const ConfigField& field, const FieldValue& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) return *number >= field.min && *number <= field.max;
  if (const auto* text = std::get_if<std::string>(&value)) return text_fits(field, *text);
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    return list->size() <= kMaxListLength && std::ranges::all_of(*list, [&](const std::string& text) { return text_fits(field, text); });
  }
  return true;
}

std::string expectation(const ConfigField& field) {
  switch (field.binding.type) {
    case FieldType::kBool:
      return "true or false";
    case FieldType::kInteger:
      return "an integer from " + std::to_string(field.min) + " to " + std::to_string(field.max);
    case FieldType::kText:
      return text_expectation(field);
    case FieldType::kTextList:
      return "an array of at most " + std::to_string(kMaxListLength) + ", each " + text_expectation(field);
    case FieldType::kObject:
      return "an object";
    case FieldType::kEntries:
      return "an array of 1 to " + std::to_string(kMaxBackends) + " objects";
  }
  return {};
}

std::string path_of_member(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : path + "." + std::string(name);
}

std::string path_of_element(const std::string& path, size_t index) { return path + "[" + std::to_string(index) + "]"; }

std::string variable_of(std::string_view option) {
  std::string variable = "INFERD_";
  option.remove_prefix(std::min<size_t>(2, option.size()));
  for (const char c : option) variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return variable;
}

std::string shown_variable(std::string_view name) {
  constexpr size_t kLongest = 64;
  const bool conventional = std::ranges::all_of(name, [](unsigned char c) { return std::isupper(c) != 0 || std::isdigit(c) != 0 || c == '_'; });
  return conventional && name.size() <= kLongest ? std::string(name) : "...";
}

std::string shown(const ConfigField& field, const FieldValue& value) {
  std::string out;
  if (const auto* boolean = std::get_if<bool>(&value)) {
    out = *boolean ? "true" : "false";
  } else if (const auto* number = std::get_if<int64_t>(&value)) {
    append_json_number(out, *number);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    append_shown(out, field, *text);
  } else if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    out = "[";
    for (const std::string& item : *list) {
      if (out.size() > 1) out += ',';
      append_shown(out, field, item);
    }
    out += ']';
  } else {
    out = "null";
  }
  return out;
}

}  // namespace inferd
