#include "config/keys.h"

#include <cstdlib>
#include <utility>

#include "config/config_table.h"
#include "os/secret_file.h"

namespace inferd {
namespace {

using OptionalKey = std::optional<os::SecretText>;

Result<OptionalKey> from_file(const std::string& file, const std::string& place) {
  auto key = os::read_secret_file(expand_home(file));
  if (!key) return fail(key.error().code, place + ": " + key.error().message);
  return os::SecretText(std::move(*key));
}

// Set but empty is a value here, unlike in os::env.
OptionalKey variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return os::SecretText(std::string(value));
}

OptionalKey none_if_empty(OptionalKey key) {
  if (key && key->empty()) key.reset();
  return key;
}

OptionalKey copy_of(const std::optional<std::string>& option) {
  if (!option) return std::nullopt;
  return os::SecretText(std::string(*option));
}

std::unexpected<Error> not_set(const std::string& place, const std::string& name) {
  return fail(Code::kUsage, place + ": the variable " + shown_variable(name) + " is not set");
}

bool is_wiped(const DaemonOptions& options) { return !options.api_key && options.given.contains("--api-key"); }

}  // namespace

bool has_tcp_key(const Effective& effective) {
  const ListenSettings& listen = effective.config.listen;
  return effective.options.api_key || is_wiped(effective.options) || listen.api_key_file || listen.api_key_env;
}

Result<std::optional<os::SecretText>> tcp_key(const Effective& effective) {
  const auto& option = effective.options.api_key;
  if (option && option->empty()) return fail(Code::kUsage, "--api-key is empty: give a key, or none");
  if (option) return copy_of(option);
  if (is_wiped(effective.options)) return fail(Code::kInternal, "the key of --api-key was wiped before it was read");
  const ListenSettings& listen = effective.config.listen;
  if (listen.api_key_file) return tcp_key_of_file(effective);
  if (!listen.api_key_env) return std::nullopt;
  auto key = none_if_empty(variable(*listen.api_key_env));
  if (!key) return not_set(effective.place_of("listen.api_key_env"), *listen.api_key_env);
  return key;
}

Result<std::optional<os::SecretText>> tcp_key_of_file(const Effective& effective) {
  const auto& file = effective.config.listen.api_key_file;
  if (!file || effective.options.api_key || is_wiped(effective.options)) return std::nullopt;
  return from_file(*file, effective.place_of("listen.api_key_file"));
}

Result<os::SecretText> openai_key(const OpenaiEntry& entry, const std::string& path, const Effective& effective) {
  OptionalKey key;
  if (entry.api_key_file) {
    auto read = from_file(*entry.api_key_file, effective.place_of(path_of_member(path, "api_key_file")));
    if (!read) return std::unexpected(read.error());
    key = std::move(*read);
  } else if (entry.api_key_env) {
    key = variable(*entry.api_key_env);
    if (!key) return not_set(effective.place_of(path_of_member(path, "api_key_env")), *entry.api_key_env);
  } else {
    key = effective.options.openai_api_key ? copy_of(effective.options.openai_api_key) : variable("OPENAI_API_KEY");
  }
  if (!key) return os::SecretText();
  return std::move(*key);
}

Result<std::optional<os::SecretText>> bedrock_bearer_token(const BedrockEntry& entry, const std::string& path, const Effective& effective) {
  if (entry.api_key_file) return from_file(*entry.api_key_file, effective.place_of(path_of_member(path, "api_key_file")));
  if (entry.bearer_token_env) return none_if_empty(variable(*entry.bearer_token_env));
  if (!effective.config.path.empty() && !effective.options.given.contains("--bedrock-model-id")) return std::nullopt;
  auto key = none_if_empty(copy_of(effective.options.bedrock_bearer_token));
  return key ? std::move(key) : none_if_empty(variable("AWS_BEARER_TOKEN_BEDROCK"));
}

Status check_keys(const Effective& effective) {
  const DaemonOptions& options = effective.options;
  const bool serves_tcp = options.tcp || (options.v2 && options.v2_tcp) || (options.embed && options.embed_tcp);
  if (serves_tcp && !is_wiped(options)) {
    if (auto key = tcp_key(effective); !key) return std::unexpected(key.error());
  }
  for (size_t i = 0; i < effective.config.backends.size(); ++i) {
    const BackendEntry& entry = effective.config.backends[i];
    const std::string path = path_of_element("backends", i);
    if (const auto* openai = std::get_if<OpenaiEntry>(&entry)) {
      if (auto key = openai_key(*openai, path, effective); !key) return std::unexpected(key.error());
    } else if (const auto* bedrock = std::get_if<BedrockEntry>(&entry)) {
      if (auto key = bedrock_bearer_token(*bedrock, path, effective); !key) return std::unexpected(key.error());
    }
  }
  return {};
}

}  // namespace inferd
