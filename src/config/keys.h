// The keys that options, environment and config file name (spec 05 §2.2, README 22). Read at the start, before wipe_secrets(); those that
// stand in a file are read again on SIGHUP, an environment is fixed for a process's life. Reads files; any thread. Whoever gets a key owns
// the only copy of it that we made, and it wipes itself.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "config/effective.h"
#include "os/secret_memory.h"

namespace inferd {

/// True if TCP clients have to send a key first, wherever that stands.
bool has_tcp_key(const Effective& effective);

/// What TCP clients must send first: --api-key, else listen.api_key_file, else the variable of listen.api_key_env; nothing if none of
/// them is there. An empty key, and a variable that is named but not set, are errors: never an open port by mistake.
Result<std::optional<os::SecretText>> tcp_key(const Effective& effective);

/// For SIGHUP: what listen.api_key_file holds now. Nothing if the key comes from elsewhere, and so is as it was.
Result<std::optional<os::SecretText>> tcp_key_of_file(const Effective& effective);

/// The provider's key: api_key_file, else the variable of api_key_env (set but empty: no key), else --openai-api-key or
/// INFERD_OPENAI_API_KEY, else OPENAI_API_KEY, else empty = no key. A variable that is named but not set is an error: another provider's
/// key is not sent instead. `path` is "backends[1]", for errors.
Result<os::SecretText> openai_key(const OpenaiEntry& entry, const std::string& path, const Effective& effective);

/// api_key_file, else the variable of bearer_token_env; for an entry of the command line --bedrock-bearer-token, else
/// AWS_BEARER_TOKEN_BEDROCK. Nothing if that is not set or empty: the AWS key pair signs then.
Result<std::optional<os::SecretText>> bedrock_bearer_token(const BedrockEntry& entry, const std::string& path, const Effective& effective);

/// The first error that reading the keys of all served surfaces and entries gives. Keys that wipe_secrets() took out were read before.
Status check_keys(const Effective& effective);

}  // namespace inferd
