// The effective configuration: command line, environment and config file in one. Made once at the start, before backends and inference
// sockets; --check-config prints it (effective_text.h). Pure but for load_effective; any thread.
//
// How the merge goes (spec README 18, 20):
//   1. Backends. `--backend mock`: the mock alone. An option that names a model (--model-path, --openai-base-url, --bedrock-model-id)
//      replaces the file's entries by one that bears the name of its kind. Else the file's entries, whichever kind --backend names. Else,
//      without a file, the entry that --backend asks for, or mock.
//   2. Fields. For every row of config_table.cc with an `option_value`: if that option was given, on the command line or in the
//      environment, its value replaces the field's, in every entry that has the field. It has to keep the field's bounds.
//   3. Limits and `verify`. What was not given as an option comes from the file into DaemonOptions. INFERD_LOG beats `log_filter`.
//   4. Listeners. listen.tcp, tcp_v2 and tcp_embed come into DaemonOptions unless an option of the same surface was given.
// After it the daemon reads limits, transports, `verify` and paths from `options`, and models, store, keys, backends, access lists and
// `log_filter` from `config`.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "config/config_file.h"
#include "config/options.h"
#include "config/value_source.h"

namespace inferd {

struct Effective {
  DaemonOptions options;
  ConfigFile config;      // without a file: defaults, and an empty path
  std::map<std::string, ValueSource, std::less<>> sources;  // by JSON path; a path that is not there has its default

  /// How to call a field in an error: the option or variable that set it, else "FILE: PATH".
  std::string place_of(std::string_view path) const;
  /// The same with its value: "--kv-cells 100", "FILE: PATH: 100".
  std::string place_of(std::string_view path, const std::string& value) const;
};

/// Errors are kUsage, or kNotInThisBuild for a GPU.
Result<Effective> merge(DaemonOptions options, std::optional<ConfigFile> file);

/// Checks the options (check_options.h), reads the file that they name, or the default one, and merges. A default one that is
/// not there is none. So is a named one if --backend says what to serve instead (with a warning); else it is an error, and no mock. Blocks while it reads. The same options give the same result again on SIGHUP, unless the file changed.
Result<Effective> load_effective(DaemonOptions options);

}  // namespace inferd
