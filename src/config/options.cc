#include "config/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>

#include "os/secret_memory.h"

namespace inferd {
namespace {

// CLI11's own conversion reads "-1" as the largest number, cuts what is too large, and takes spaces.
template <class Integer>
std::string check_integer(const std::string& text) {
  Integer value;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  if (read.ec == std::errc() && read.ptr == end) return {};
  return "\"" + text + "\" is no integer from " + std::to_string(std::numeric_limits<Integer>::min()) + " to " +
         std::to_string(std::numeric_limits<Integer>::max());
}

// Seconds and counts beyond this are a slip of the keyboard, and would overflow a clock.
std::string check_moderate(const std::string& text) {
  constexpr uint64_t kMost = 1'000'000'000;
  if (std::string wrong = check_integer<uint64_t>(text); !wrong.empty()) return wrong;
  return std::strtoull(text.c_str(), nullptr, 10) <= kMost ? "" : text + " is beyond " + std::to_string(kMost);
}

std::string check_seconds(const std::string& text) {
  if (std::string wrong = check_moderate(text); !wrong.empty()) return wrong;
  return std::strtoull(text.c_str(), nullptr, 10) >= 1 ? "" : "expected at least 1 second";
}

std::string check_fault(const std::string& text) {
  constexpr std::string_view kDropAfter = "drop-after:";
  if (text == "not-ready" || text == "invalid" || text == "unavailable") return {};
  if (text.starts_with(kDropAfter) && check_integer<uint64_t>(text.substr(kDropAfter.size())).empty()) return {};
  return "expected not-ready, invalid, unavailable or drop-after:N";
}

// Collects options with their environment variables. CLI11's own envname() knows no empty values and takes "1" for a flag.
class Table {
 public:
  explicit Table(CLI::App& app) : app_(app) {}

  template <class T>
  CLI::Option* add(const std::string& name, T& into, const std::string& help, const char* variable = nullptr) {
    CLI::Option* option = app_.add_option("--" + name, into, help);
    if constexpr (std::is_same_v<T, uint64_t> || std::is_same_v<T, std::optional<uint64_t>>) option->check(&check_integer<uint64_t>);
    if constexpr (std::is_same_v<T, std::optional<uint32_t>>) option->check(&check_integer<uint32_t>);
    if constexpr (std::is_same_v<T, int32_t>) option->check(&check_integer<int32_t>);
    remember(option, name, variable);
    return option;
  }
  CLI::Option* add_flag(const std::string& name, bool& into, const std::string& help) {
    CLI::Option* option = app_.add_flag("--" + name, into, help);
    remember(option, name, nullptr);
    flags_.push_back(option);
    return option;
  }

  // Puts every variable that is set and whose option is not on the command line in front of the arguments.
  Status add_environment(std::vector<std::string>& arguments) {
    for (const auto& [option, name, variable] : variables_) {
      const char* value = std::getenv(variable.c_str());
      if (value == nullptr || std::ranges::find(arguments, name) != arguments.end()) continue;
      if (std::ranges::find(flags_, option) != flags_.end()) {
        if (std::string_view(value) == "true") {
          from_environment_.insert(name);
          arguments.push_back(name);
        } else if (std::string_view(value) != "false") {
          return fail(Code::kUsage, variable + ": \"" + value + "\" is neither true nor false");
        }
        continue;
      }
      from_environment_.insert(name);
      arguments.push_back(name);
      arguments.emplace_back(value);
    }
    return {};
  }

  /// After the parse: the options that have a value, and who gave it.
  std::map<std::string, ValueSource, std::less<>> given() const {
    std::map<std::string, ValueSource, std::less<>> found;
    for (const auto& [option, name, variable] : variables_) {
      if (option->count() == 0) continue;
      found[name] = {ValueSource::From::kCommandLine, name};
      if (from_environment_.contains(name)) found[name] = {ValueSource::From::kEnvironment, variable};
    }
    return found;
  }

 private:
  void remember(CLI::Option* option, const std::string& name, const char* variable) {
    std::string text = variable != nullptr ? variable : "INFERD_" + name;
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
    option->description(option->get_description() + " [env " + text + "]");
    variables_.push_back({option, "--" + name, text});
  }

  CLI::App& app_;
  struct Variable {
    CLI::Option* option;
    std::string name;  // of the option; a hidden one does not tell its own
    std::string variable;
  };
  std::vector<Variable> variables_;
  std::vector<CLI::Option*> flags_;
  std::set<std::string> from_environment_;  // names of options
};

// "--opt=VALUE" becomes two arguments, so that an empty VALUE stays one. A negative number keeps its "=".
std::vector<std::string> split_arguments(int argc, const char* const* argv) {
  std::vector<std::string> out;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    const bool negative = equals != std::string::npos && equals + 1 < argument.size() && argument[equals + 1] == '-';
    if (!argument.starts_with("--") || equals == std::string::npos || negative) {
      out.push_back(argument);
      continue;
    }
    out.push_back(argument.substr(0, equals));
    out.push_back(argument.substr(equals + 1));
  }
  return out;
}

}  // namespace

Result<ParsedCommandLine> parse_command_line(int argc, const char* const* argv) {
  DaemonOptions o;
  CLI::App app("Owns the language models of this machine and answers on private sockets.", "inferd-daemon");
  app.set_version_flag("-V,--version", std::string("inferd-daemon ") + INFERD_VERSION);
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.allow_extras(false);
  Table table(app);
  const auto not_empty = [](const std::string& value) { return value.empty() ? std::string("the path is empty") : std::string(); };
  std::map<CLI::Option*, std::string> later;  // parsed, and a start error in this build

  table.add("backend", o.backend, "mock, llamacpp, openai-compat or bedrock-invoke (default: mock, with a warning)")
      ->check(CLI::IsMember({"mock", "llamacpp", "openai-compat", "bedrock-invoke"}));
  table.add("lock", o.lock, "Single-instance lock file (default: <runtime dir>/inferd.lock)")->check(not_empty);
  auto* tcp = table.add("tcp", o.tcp, "Serve v1 on IP:PORT");
  auto* uds = table.add("uds", o.uds, "Serve v1 on this Unix socket (default: <runtime dir>/infer.sock)")->check(not_empty);
  auto* pipe = table.add("pipe", o.pipe, "Serve v1 on a named pipe (Windows only)");
  tcp->excludes(uds)->excludes(pipe);
  uds->excludes(pipe);
  table.add("group", o.group, "Group that may use the inference sockets");
  table.add("active-permits", o.active_permits, "Requests that each backend runs at once (default: llamacpp 8, mock 1)")->check(&check_moderate);
  table.add("queue-depth", o.queue_depth, "Requests that may wait (default 10)")->check(&check_moderate);
  table.add("ready-timeout-secs", o.ready_timeout_secs, "Give up when loading makes no progress for so long (default 30)")->check(&check_moderate);
  table.add("drain-timeout-secs", o.drain_timeout_secs, "Time for running and waiting requests after SIGTERM (default 30)")->check(&check_moderate);
  table.add("write-timeout-secs", o.write_timeout_secs, "Close a client that reads nothing for so long (default 60)")->check(&check_moderate);
  table.add("max-buffered-bytes", o.max_buffered_bytes, "Unfinished input held over all connections (default 536870912)");
  table.add("model-path", o.model_path, "GGUF file (llamacpp)")->check(not_empty);
  table.add("model-sha256", o.model_sha256, "Its SHA-256, 64 hex digits; required with --model-path");
  table.add("mmproj-path", o.mmproj_path, "GGUF file of its projector, for images and sounds")->check(not_empty);
  table.add("mmproj-sha256", o.mmproj_sha256, "Its SHA-256; required with --mmproj-path");
  table.add("n-ctx", o.n_ctx, "Tokens of one request, prompt plus answer (default 8192, or the model's own if that is less)")->check(&check_moderate);
  table.add("n-gpu-layers", o.n_gpu_layers, "Layers on a GPU (default 0; this build has no GPU support)");
  table.add("kv-cells", o.kv_cells, "Tokens held over all requests (default max(n_ctx, min(permits * n_ctx, 16384)))")->check(&check_moderate);
  table.add("threads", o.threads, "Threads of the engine (default: the CPUs that this process may use)")->check(&check_moderate);
  table.add("host-cache-bytes", o.host_cache_bytes, "Memory for finished prompts outside the KV cells; 0: none (default 536870912)");
  table.add("prefix-sharing", o.prefix_sharing, "Whose prompts may share computed beginnings: user (of one uid or key; default) or all")
      ->check(CLI::IsMember({"user", "all"}));
  table.add("step-timeout-secs", o.step_timeout_secs, "An engine that makes no step for so long is ended and started anew (default 10)")
      ->check(&check_seconds);
  table.add("sandbox", o.sandbox, "Confine the engine: auto (default; warns if the system cannot), required or off")
      ->check(CLI::IsMember({"auto", "required", "off"}));
  table.add("verify", o.verify, "A model file that was verified and has not changed since: recorded (default) trusts that, always hashes")
      ->check(CLI::IsMember({"always", "recorded"}));
  table.add("api-key", o.api_key, "Key that TCP clients must send first");
  const auto not_yet = [&](const std::string& name, auto& into) {
    later[table.add(name, into, "Not in this build")] = name;
  };
  not_yet("openai-base-url", o.openai_base_url);
  not_yet("openai-api-key", o.openai_api_key);
  not_yet("openai-model", o.openai_model);
  not_yet("openai-timeout-secs", o.openai_timeout_secs);
  not_yet("bedrock-region", o.bedrock_region);
  not_yet("bedrock-model-id", o.bedrock_model_id);
  not_yet("bedrock-endpoint", o.bedrock_endpoint);
  not_yet("bedrock-timeout-secs", o.bedrock_timeout_secs);
  // Its variable is AWS's own and may be set for other programs: only the option itself is an error.
  auto* bearer = app.add_option("--bedrock-bearer-token", o.bedrock_bearer_token, "Not in this build");
  later[bearer] = "bedrock-bearer-token";
  table.add("config", o.config, "Configuration file (default: ~/.inferd/config.json, if there is one)")->check(not_empty);
  table.add("admin-addr", o.admin_addr, "Admin socket (default: <runtime dir>/admin.sock)")->check(not_empty);
  table.add_flag("v2", o.v2, "Serve v2: typed blocks, tools, attachments");
  auto* v2_addr = table.add("v2-addr", o.v2_addr, "Socket of v2 (default: <runtime dir>/infer.v2.sock)")->check(not_empty);
  table.add("v2-tcp", o.v2_tcp, "Serve v2 on IP:PORT instead")->excludes(v2_addr);
  table.add_flag("embed", o.embed, "Serve embeddings, if a backend makes them");
  auto* embed_addr = table.add("embed-addr", o.embed_addr, "Socket of embed (default: <runtime dir>/infer.embed.sock)")->check(not_empty);
  table.add("embed-tcp", o.embed_tcp, "Serve embeddings on IP:PORT instead")->excludes(embed_addr);

  auto* check_config = app.add_flag("--check-config", o.check_config, "Print the effective configuration and where each value is from");
  app.add_flag("--json", o.json, "With --check-config: as JSON")->needs(check_config);

  const auto hidden = [](CLI::Option* option) { option->group(""); };
  std::string tape;
  hidden(app.add_option("--engine", o.engine));
  hidden(app.add_option("--mock-tape", tape));
  hidden(app.add_option("--mock-delay-ms", o.mock_delay_ms)->check(&check_integer<uint64_t>));
  hidden(app.add_option("--mock-fault", o.mock_fault)->check(&check_fault));
  for (const std::string_view name : kSecretOptions) hidden(app.get_option(std::string(name)));
  hidden(app.add_option("--engine-argument", o.engine_arguments)->allow_extra_args(false));

  std::vector<std::string> arguments = split_arguments(argc, argv);
  if (auto added = table.add_environment(arguments); !added) return std::unexpected(added.error());
  std::ranges::reverse(arguments);  // CLI11 takes them from the back
  try {
    app.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    return ParsedCommandLine{std::nullopt, app.help()};
  } catch (const CLI::CallForVersion&) {
    return ParsedCommandLine{std::nullopt, app.version() + "\n"};
  } catch (const CLI::ParseError& error) {
    return fail(Code::kUsage, error.what());
  }
  o.given = table.given();
  for (const auto& [option, name] : later) {
    if (option->count() == 0) continue;
    const auto given = o.given.find("--" + name);
    const bool from_environment = given != o.given.end() && given->second.from == ValueSource::From::kEnvironment;
    if (from_environment && std::ranges::find(kSecretOptions, given->first) != kSecretOptions.end()) continue;  // a key may be there for other programs
    o.not_in_this_build.push_back(given == o.given.end() ? "--" + name : given->second.name);
  }
  std::ranges::sort(o.not_in_this_build);
  if (const char* filter = std::getenv("INFERD_LOG")) o.log_filter = filter;
  if (bearer->count() > 0) o.given["--bedrock-bearer-token"] = {ValueSource::From::kCommandLine, "--bedrock-bearer-token"};
  if (!tape.empty()) {
    boost::system::error_code error;
    auto pieces = boost::json::try_value_to<std::vector<std::string>>(boost::json::parse(tape, error));
    if (error || !pieces) return fail(Code::kUsage, "--mock-tape: expected a JSON array of strings");
    o.mock_tape = std::move(*pieces);
  }
  return ParsedCommandLine{std::move(o), {}};
}

void wipe_secrets(DaemonOptions& options) {
  for (std::optional<std::string>* key : {&options.api_key, &options.openai_api_key, &options.bedrock_bearer_token}) {
    if (*key) os::wipe(**key);
    key->reset();
  }
}

}  // namespace inferd
