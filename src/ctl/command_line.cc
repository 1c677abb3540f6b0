#include "ctl/command_line.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdlib>

#include "ctl/commands.h"

namespace inferd::ctl {
namespace {

constexpr const char* kExitCodes =
    "Exit codes:\n"
    "  0  done; status: the daemon is ready; plan: the model fits\n"
    "  1  status: the daemon answers and is not ready; plan: the model does not fit, or cannot be read\n"
    "  2  usage, or an error without a code of its own\n"
    "  3  run: the daemon cannot be reached, or did not get ready\n"
    "  4  run: the request was refused (invalid_request, frame_too_large)\n"
    "  5  run: queue_full, try again later\n"
    "  6  run: backend_unavailable\n"
    "  7  run: an internal error of the daemon\n"
    "  8  run: the connection ended before the answer did\n"
    "  130  run: stopped by Ctrl-C\n";

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

std::string check_not_empty(const std::string& text) { return text.empty() ? "expected a file" : ""; }

}  // namespace

int run(int argc, const char* const* argv) {
  GlobalOptions global;
  RunOptions options;
  PlanOptions plan_options;
  CLI::App app("Talks to inferd-daemon.", "inferdctl");
  app.set_version_flag("-V,--version", std::string("inferdctl ") + INFERD_VERSION);
  app.footer(kExitCodes);
  app.require_subcommand(0, 1);
  app.fallthrough();  // global options before or after the command
  app.add_option("--admin-addr", global.admin_socket, "Admin socket (default: where the daemon puts it)")->envname("INFERD_ADMIN_ADDR");
  auto* uds = app.add_option("--uds", global.endpoint.socket, "v1 socket (default: where the daemon puts it)")->envname("INFERD_UDS");
  app.add_option("--tcp", global.endpoint.tcp, "v1 on HOST:PORT")->envname("INFERD_TCP")->excludes(uds);
  app.add_option("--api-key", global.endpoint.key, "Key for --tcp; rather in the environment than here")->envname("INFERD_API_KEY");
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
  run->add_option("--grammar-file", options.grammar_file, "GBNF grammar that the answer follows");
  run->add_flag("--batch", options.request.batch, "Let interactive requests go first");
  auto* wait = run->add_option("--wait", options.wait_seconds, "Seconds to wait for the daemon (default: 600 if it is loading, 0 if it does not run)")->check(CLI::NonNegativeNumber);
  run->footer(kExitCodes);
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

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kError;
  }
  options.wait_for_start = wait->count() > 0;
  if (app.got_subcommand("run")) return run_prompt(global, options);
  if (app.got_subcommand("status")) return show_status(global);
  if (app.got_subcommand("watch")) return watch(global);
  if (app.got_subcommand("plan")) return plan_model(global, plan_options);
  std::fputs(app.help().c_str(), stderr);
  return kError;
}

}  // namespace inferd::ctl
