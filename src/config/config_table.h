// The one table of the config file's fields. From it come the reading and its checks (config_file), the merge with the command line
// (effective), the JSON Schema and the reference in doc/configuration.md (schema), and what --check-config prints (effective_text).
// A new setting is one row here and one member in config_file.h. Constants and pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "config/binding.h"
#include "config/config_file.h"

namespace inferd {

inline constexpr uint32_t kMostSequences = 128;  // half of the sequence ids that llama.cpp has: as many finished ones are kept
inline constexpr uint32_t kMostThreads = 512;    // of ggml

/// What a text has to be.
enum class TextRule : uint8_t {
  kAny,
  kNotEmpty,
  kNotBlank,
  kHttpsUrl,
  kHttpUrl,
  kSha256,    // 64 lowercase hex digits
  kVariable,  // the name of an environment variable
  kPath,      // absolute, or below the home folder
  kChoice,    // one of `choices`
  kLogFilter,  // as INFERD_LOG, and all of it is understood
};

struct ConfigObject;

struct ConfigField {
  std::string_view name = {};
  Binding binding = {};
  bool required = false;
  int64_t min = 0, max = 0;  // of an integer, both included
  TextRule rule = TextRule::kAny;  // of a text, and of each text of a list
  std::span<const std::string_view> choices = {};
  std::string_view fallback = {};  // the default as JSON text; empty: none
  std::string_view doc = {};       // one sentence for the operator
  std::string_view excludes = {};  // a field of the same object that may not be given besides
  // What beats the field. With `option_value` the merge does it by itself: the value of the option, if it was given, replaces the
  // field's; without, effective.cc has a rule of its own.
  std::string_view option = {};
  Binding option_value = {};  // of DaemonOptions
  const ConfigObject* object = nullptr;  // of kObject
  bool legacy = false;  // belongs to the form with a single `model`, or has no effect
};

struct ConfigObject {
  std::string_view title;
  std::string_view kind;  // of an entry of `backends`: what its tag says; else empty
  std::span<const ConfigField> fields;
};

struct BackendKind {
  const ConfigObject* object;
  BackendEntry (*make)();
};

const ConfigObject& config_root();
/// The kinds that the file knows, in the order of the specification.
std::span<const BackendKind> backend_kinds();
/// "llamacpp", "openai-compat", "bedrock-invoke", or "mock" for an entry of the command line.
std::string_view kind_of(const BackendEntry& entry);
/// The fields of an entry; null for mock, which has none.
const ConfigObject* object_of(const BackendEntry& entry);

/// True if a value of the field's type keeps its bounds.
bool fits(const ConfigField& field, const FieldValue& value);
/// "an integer from 1 to 128", "a URL that begins with https://": what an error says was expected.
std::string expectation(const ConfigField& field);
/// How errors and sources call a field: "listen.tcp", at the top of the file "auto_pull".
std::string path_of_member(const std::string& path, std::string_view name);
/// "backends[1]".
std::string path_of_element(const std::string& path, size_t index);
/// The variable of an option: "--n-ctx" -> "INFERD_N_CTX".
std::string variable_of(std::string_view option);

/// The name of a variable, or "..." for what does not look like one: somebody may have put the key itself in its place.
std::string shown_variable(std::string_view name);

/// A value as an operator may see it: JSON text, long ones cut, without what a URL hides in user and query, "..." for what is no name of
/// a variable and so perhaps a key.
std::string shown(const ConfigField& field, const FieldValue& value);

}  // namespace inferd
