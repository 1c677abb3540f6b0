// The effective configuration as --check-config prints it: every setting with its value and where that is from. Keys are "set" or
// "not set", URLs come without user and query. Reads the environment (is a key set?); any thread.
#pragma once

#include <string>
#include <vector>

#include "config/effective.h"

namespace inferd {

struct Setting {
  std::string path;   // "limits.queue_depth", "backends[0].n_ctx"; options without a field: "--lock"
  std::string value;  // JSON text; null: not set, and nothing stands in for it
  ValueSource source;
};

std::vector<Setting> settings_of(const Effective& effective);

/// "default", "file /etc/inferd.json", "environment INFERD_N_CTX", "command line --n-ctx".
std::string describe(const ValueSource& source);

/// One line a setting: path, value and source in columns; then one a warning.
std::string to_lines(const Effective& effective);

/// {"file":PATH|null,"settings":[{"path":...,"value":...,"source":"default|file|environment|command line","name":...}],"warnings":[...]}
std::string to_json(const Effective& effective);

}  // namespace inferd
