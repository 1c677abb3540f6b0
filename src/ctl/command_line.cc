#include "ctl/command_line.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctl/commands.h"
#include "os/paths.h"
#include "store/store_paths.h"

namespace inferd::ctl {
namespace {

constexpr const char* kExitCodes =
    "Exit codes:\n"
    "  0  done; status: the daemon is ready; plan: the model fits; verify, doctor: nothing is wrong\n"
    "  1  status: the daemon answers and is not ready; plan: the model does not fit, or cannot be read;\n"
    "     verify: a model is damaged or missing; doctor: a check failed; gc: something stays, or the answer was no\n"
    "  2  usage, or an error without a code of its own\n"
    "  3  run, embed: the daemon cannot be reached, or did not get ready\n"
    "  4  run, embed: the request was refused (invalid_request, frame_too_large, attachment_unsupported,\n"
    "     embed_unsupported)\n"
    "  5  run, embed: queue_full, try again later\n"
    "  6  run, embed: backend_unavailable\n"
    "  7  run, embed: an internal error of the daemon, or a tool call of the model that cannot be read\n"
    "  8  run, embed: the connection ended before the answer did\n"
    "  130  run, embed, pull, import, verify: stopped by Ctrl-C\n";

constexpr const char* kRunNotes =
    "With --v2, --image, --audio, --tool, --tool-choice, --schema, --thinking, --v2-addr or --v2-tcp the v2\n"
    "surface is asked. The model's thinking is shown on standard error if that is a terminal. A call of a tool\n"
    "is a line {\"type\":\"tool_use\",\"tool_call_id\":TEXT,\"name\":TEXT,\"input\":{...}}; with -i the lines that\n"
    "follow are the results of the calls. A tool file holds an object or an array of objects\n"
    "  {\"name\":TEXT,\"description\":TEXT,\"input_schema\":{...}}\n"
    "With --json: the frames of the answer as they come.\n\n";
constexpr const char* kEmbedNotes =
    "Each line of standard input is a JSON string, or an object with \"text\" and perhaps an \"id\"; with --text\n"
    "it is the text itself. For each, in order, a line comes out (\"id\" only if there was one):\n"
    "  {\"id\":ID,\"index\":N (from 0),\"embedding\":[...]}\n"
    "Tasks: retrieval_query, retrieval_document, similarity, classification, clustering, question_answering,\n"
    "  fact_verification, code_retrieval_query\n\n";

// What a program reads with --json.
constexpr const char* kPullJson =
    "With --json, on standard output:\n"
    "  {\"event\":\"progress\",\"phase\":\"download|verify\",\"name\":TEXT,\"bytes\":N,\"total\":N|null} about once a second\n"
    "and for each model at its end\n"
    "  {\"event\":\"done\",\"name\":TEXT,\"sha256\":TEXT,\"bytes\":N,\"how\":\"was_there|verified|downloaded\",\"path\":TEXT}\n\n";
constexpr const char* kImportJson =
    "With --json, on standard output:\n"
    "  {\"event\":\"progress\",\"phase\":\"copy|verify\",\"name\":TEXT,\"bytes\":N,\"total\":N} about once a second\n"
    "  {\"event\":\"done\",\"name\":TEXT,\"sha256\":TEXT,\"bytes\":N,\"how\":\"was_there|reflink|hard_link|copy\",\"path\":TEXT}\n\n";
constexpr const char* kVerifyJson =
    "With --json, on standard output:\n"
    "  {\"event\":\"progress\",\"phase\":\"verify\",\"name\":TEXT,\"bytes\":N,\"total\":N} about once a second\n"
    "  {\"event\":\"done\",\"name\":TEXT,\"state\":\"ok\" or what is wrong,\"bytes\":N|null,\"message\":TEXT} for each model\n\n";
constexpr const char* kListJson =
    "With --json, a line for each model (folded here):\n"
    "  {\"name\":TEXT,\"state\":\"ok\" or what is wrong,\"manifest_path\":TEXT,\"blob_path\":TEXT,\"blob_bytes\":N|null,\n"
    "   \"manifest\":{...}|null,\"error\":TEXT (without a manifest)}\n\n";
constexpr const char* kRmJson =
    "With --json: {\"event\":\"done\",\"name\":TEXT,\"blob_removed\":true|false,\"kept_because\":TEXT}\n\n";
constexpr const char* kGcJson =
    "With --json: {\"event\":\"garbage\",\"kind\":TEXT,\"bytes\":N,\"path\":TEXT} for each file, then\n"
    "  {\"event\":\"done\",\"deleted\":N,\"bytes\":N,\"kept\":N} if anything was to be deleted\n\n";
constexpr const char* kDoctorJson = "With --json, a line for each check: {\"check\":TEXT,\"state\":\"ok|warn|fail\",\"detail\":TEXT}\n\n";

// CLI11's own conversion reads "-1" as the largest number and cuts what is too large.
template <uint64_t least, uint64_t most>
std::string check_number(const std::string& text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  if (read.ec == std::errc() && read.ptr == end && value >= least && value <= most) return {};
  return "\"" + text + "\" is no integer from " + std::to_string(least) + " to " + std::to_string(most);
}
constexpr auto check_tokens = &check_number<1, 1'000'000'000>;

std::string check_not_empty(const std::string& text) { return text.empty() ? "must not be empty" : ""; }

std::string check_sha256(const std::string& text) {
  const auto id = store::BlobId::parse(text);
  return id ? "" : id.error().message;
}

std::string check_model_name(const std::string& text) {
  const auto name = store::ModelName::parse(text);
  return name ? "" : name.error().message;
}

// Whether the option stands on the command line: a value from its environment variable chooses no surface.
bool is_typed_in(const CLI::Option* option, const char* variable) {
  return option->count() > 0 && option->as<std::string>() != os::env(variable).value_or("");
}

// A socket of v1 that is named for another surface would not be used: nobody should believe that it was.
std::optional<std::string> misplaced(const CLI::App& app, const std::string& surface) {
  for (const auto& [name, variable] : {std::pair("--uds", "INFERD_UDS"), std::pair("--tcp", "INFERD_TCP")}) {
    if (!is_typed_in(app.get_option(name), variable)) continue;
    return std::string(name) + " is a place of v1: give --" + surface + "-addr or --" + surface + "-tcp";
  }
  return std::nullopt;
}

CLI::Option* add_wait(CLI::App* command, WaitOptions& wait) {
  return command->add_option("--wait", wait.seconds, "Seconds to wait for the daemon (default: 600 if it is loading, 0 if it does not run)")
      ->check(CLI::NonNegativeNumber);
}

// The options of `run` that only v2 has. They write into this object: it stays where it is.
class TypedCommandLine {
 public:
  explicit TypedCommandLine(CLI::App* run) {
    const auto files = [run](const char* name, std::vector<std::string>& into, const char* help) {
      return run->add_option(name, into, help)->check(check_not_empty)->allow_extra_args(false);
    };
    const auto text = [run](const char* name, std::string& into, const char* help) {
      return run->add_option(name, into, help)->check(check_not_empty);
    };
    choosers_ = {run->add_flag("--v2", v2_, "Ask the v2 surface"),
                 files("--image", options_.images, "PNG or JPEG file that stands before the prompt (may be given again)"),
                 files("--audio", options_.sounds, "WAV file that stands before the prompt (may be given again)"),
                 files("--tool", options_.tool_files, "JSON file with tools that the model may call (may be given again)"),
                 text("--tool-choice", options_.tool_choice, "auto, none, required, or the tool that has to be called"),
                 text("--schema", options_.schema_file, "File with a JSON schema that the answer follows"),
                 run->add_flag("--thinking", options_.thinking, "Show the model's thinking where standard error is no terminal, too")};
    address_ = run->add_option("--v2-addr", options_.endpoint.socket, "v2 socket (default: where the daemon puts it)")->envname("INFERD_V2_ADDR");
    tcp_ = run->add_option("--v2-tcp", options_.endpoint.tcp, "v2 on HOST:PORT")->envname("INFERD_V2_TCP")->excludes(address_);
  }

  /// After the parse. Nothing if v1 is to be asked.
  std::optional<TypedOptions> chosen(const std::string& key) const {
    bool chosen = is_typed_in(address_, "INFERD_V2_ADDR") || is_typed_in(tcp_, "INFERD_V2_TCP");
    for (const CLI::Option* option : choosers_) chosen = chosen || option->count() > 0;
    if (!chosen) return std::nullopt;
    TypedOptions options = options_;
    options.endpoint.key = key;
    return options;
  }

 private:
  TypedOptions options_;
  bool v2_ = false;
  std::vector<CLI::Option*> choosers_;  // those that say by themselves which surface is meant
  CLI::Option* address_ = nullptr;
  CLI::Option* tcp_ = nullptr;
};

void add_embed_command(CLI::App& app, EmbedOptions& options, CLI::Option*& wait) {
  auto* embed = app.add_subcommand("embed", "Vectors for lines of standard input");
  embed->add_flag("--text", options.plain_text, "Lines are plain text, not JSON");
  embed->add_option("--dimensions", options.dimensions, "Length of the vectors (default: the model's)")->check(&check_number<1, UINT32_MAX>);
  embed->add_option("--task", options.task, "What the vectors are for")->check(check_not_empty);
  embed->add_option("--batch", options.batch, "Lines of one request (default 256)")->check(&check_number<1, 100'000>);
  auto* address = embed->add_option("--embed-addr", options.endpoint.socket, "embed socket (default: where the daemon puts it)");
  address->envname("INFERD_EMBED_ADDR");
  embed->add_option("--embed-tcp", options.endpoint.tcp, "embed on HOST:PORT")->envname("INFERD_EMBED_TCP")->excludes(address);
  wait = add_wait(embed, options.wait);
  embed->footer(std::string(kEmbedNotes) + kExitCodes);
}

struct StoreOptions {
  PullOptions pull;
  ImportOptions import_file;
  std::vector<std::string> verify;
  std::string remove;
  GcOptions gc;
};

void add_store_commands(CLI::App& app, StoreOptions& options) {
  const auto add = [&app](const char* name, const char* help, const char* json) {
    CLI::App* command = app.add_subcommand(name, help);
    return command->footer(std::string(json) + kExitCodes);
  };
  auto* pull = add("pull", "Fetch the models of the config file, or one by its URL; goes on where it was stopped", kPullJson);
  auto* url = pull->add_option("URL", options.pull.url, "https:// only (default: every llamacpp entry of the config file)");
  auto* sha256 = pull->add_option("--sha256", options.pull.sha256, "Digest that the file must have, 64 hex digits");
  auto* name = pull->add_option("--name", options.pull.name, "Name of the model (default: the URL's last part without .gguf)");
  url->check(check_not_empty)->needs(sha256);
  sha256->check(&check_sha256)->needs(url);
  name->check(&check_model_name)->needs(url);
  add("list", "The models of the store", kListJson);
  auto* take = add("import", "Take a file into the store: as reflink, else as hard link, else as copy", kImportJson);
  take->add_option("FILE", options.import_file.file, "Model file")->required()->check(check_not_empty);
  take->add_option("--name", options.import_file.name, "Name of the model (default: the file's name without .gguf)")
      ->check(&check_model_name);
  take->add_option("--sha256", options.import_file.sha256, "Refuse a file with another digest")->check(&check_sha256);
  auto* verify = add("verify", "Hash the blobs of models; moves and deletes nothing", kVerifyJson);
  verify->add_option("NAME", options.verify, "Models (default: all)")->check(&check_model_name);
  auto* rm = add("rm", "Remove a model, and its blob unless somebody needs or holds it", kRmJson);
  rm->add_option("NAME", options.remove, "Model")->required()->check(&check_model_name);
  auto* gc = add("gc", "Delete what no model, no config entry and no running daemon needs; asks first", kGcJson);
  auto* yes = gc->add_flag("--yes", options.gc.yes, "Do not ask");
  gc->add_flag("--dry-run", options.gc.dry_run, "Only list it")->excludes(yes);
  add("doctor", "Check configuration, models, store and daemon, and say what to do", kDoctorJson);
}

// Nothing if no command of the store was given.
std::optional<int> run_store_command(const CLI::App& app, const GlobalOptions& global, const StoreOptions& options) {
  if (app.got_subcommand("pull")) return pull_models(global, options.pull);
  if (app.got_subcommand("list")) return list_models(global);
  if (app.got_subcommand("import")) return import_model(global, options.import_file);
  if (app.got_subcommand("verify")) return verify_models(global, options.verify);
  if (app.got_subcommand("rm")) return remove_model(global, options.remove);
  if (app.got_subcommand("gc")) return collect_garbage(global, options.gc);
  if (app.got_subcommand("doctor")) return diagnose(global);
  return std::nullopt;
}

}  // namespace

int run(int argc, const char* const* argv) {
  GlobalOptions global;
  RunOptions options;
  EmbedOptions embed_options;
  PlanOptions plan_options;
  StoreOptions store_options;
  CLI::App app("Talks to inferd-daemon and keeps its models.", "inferdctl");
  app.set_version_flag("-V,--version", std::string("inferdctl ") + INFERD_VERSION);
  app.footer(kExitCodes);
  app.require_subcommand(0, 1);
  app.fallthrough();  // global options before or after the command
  app.add_option("--config", global.config, "Configuration file (default: ~/.inferd/config.json)")
      ->envname("INFERD_CONFIG")
      ->check(check_not_empty);
  app.add_option("--admin-addr", global.admin_socket, "Admin socket (default: where the daemon puts it)")->envname("INFERD_ADMIN_ADDR");
  auto* uds = app.add_option("--uds", global.endpoint.socket, "v1 socket (default: where the daemon puts it)")->envname("INFERD_UDS");
  app.add_option("--tcp", global.endpoint.tcp, "v1 on HOST:PORT")->envname("INFERD_TCP")->excludes(uds);
  app.add_option("--api-key", global.endpoint.key, "Key for TCP; rather in the environment than here")->envname("INFERD_API_KEY");
  app.add_flag("--json", global.json, "JSON lines, no bars");

  auto* run = app.add_subcommand("run", "Ask: the prompt as an argument or on standard input; the answer is streamed");
  run->add_option("PROMPT", options.prompt, "What to ask");
  run->add_flag("-i,--interactive", options.interactive, "A conversation; Ctrl-C stops an answer, Ctrl-D ends it");
  run->add_option("--system", options.system, "System message");
  run->add_option("--max-tokens", options.request.max_tokens, "Length of the answer (default 1000)")->check(CLI::NonNegativeNumber);
  run->add_option("--temperature", options.request.temperature, "0: always the likeliest token (default 1.0)");
  run->add_option("--top-p", options.request.top_p, "Default 0.95");
  run->add_option("--top-k", options.request.top_k, "Default 64")->check(CLI::NonNegativeNumber);
  run->add_option("--seed", options.request.seed, "The same seed gives the same answer (default: random)")->check(CLI::NonNegativeNumber);
  run->add_option("--stop", options.request.stop, "End the answer before this text (may be given again)")->allow_extra_args(false);
  auto* grammar = run->add_option("--grammar-file", options.grammar_file, "GBNF grammar that the answer follows (v1)");
  run->add_flag("--batch", options.request.batch, "Let interactive requests go first");
  TypedCommandLine typed(run);
  auto* wait = add_wait(run, options.wait);
  run->footer(std::string(kRunNotes) + kExitCodes);
  CLI::Option* embed_wait = nullptr;
  add_embed_command(app, embed_options, embed_wait);
  app.add_subcommand("status", "What the daemon is doing, once");
  app.add_subcommand("watch", "What the daemon is doing, as it goes on");
  auto* plan = app.add_subcommand("plan", "What memory a model will need here, and whether it is there; nothing is loaded");
  plan->add_option("MODEL", plan_options.model, "GGUF file")->required()->check(check_not_empty);
  plan->add_option("--n-ctx", plan_options.n_ctx, "As of the daemon: tokens of one request")->check(check_tokens);
  plan->add_option("--parallel", plan_options.parallel, "Requests at once, the daemon's --active-permits (default 8)")
      ->check(&check_number<1, 128>);
  plan->add_option("--kv-cells", plan_options.kv_cells, "As of the daemon: tokens held over all requests")->check(check_tokens);
  plan->add_option("--host-cache-bytes", plan_options.host_cache_bytes, "As of the daemon: memory for finished sequences (default 536870912)")
      ->check(&check_number<0, UINT64_MAX>);
  plan->footer(kExitCodes);
  add_store_commands(app, store_options);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kError;
  }
  options.wait.for_start = wait->count() > 0;
  options.typed = typed.chosen(global.endpoint.key);
  embed_options.wait.for_start = embed_wait->count() > 0;
  embed_options.endpoint.key = global.endpoint.key;
  const bool runs_typed = app.got_subcommand("run") && options.typed;
  std::optional<std::string> wrong;
  if (runs_typed || app.got_subcommand("embed")) wrong = misplaced(app, runs_typed ? "v2" : "embed");
  if (runs_typed && grammar->count() > 0) wrong = "--grammar-file is of v1: the answer of v2 follows a --schema";
  if (wrong) return report(Error{Code::kUsage, *wrong});
  log::install(log_filter(), &terminal_log());
  if (app.got_subcommand("run")) return run_prompt(global, options);
  if (app.got_subcommand("embed")) return embed_lines(global, embed_options);
  if (app.got_subcommand("status")) return show_status(global);
  if (app.got_subcommand("watch")) return watch(global);
  if (app.got_subcommand("plan")) return plan_model(global, plan_options);
  if (const auto code = run_store_command(app, global, store_options)) return *code;
  std::fputs(app.help().c_str(), stderr);
  return kError;
}

}  // namespace inferd::ctl
