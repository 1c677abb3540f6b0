// Started by inferd-daemon only, which passes the channel as descriptor 3.
#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "engine/engine_process.h"
#include "engine/plan_command.h"
#include "os/sandbox_probe.h"

int main(int argc, char** argv) {
  constexpr int kChannel = 3;
  inferd::engine::EngineOptions options;
  std::error_code error;
  options.variants = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  CLI::App app("Holds one language model. Started by inferd-daemon; not meant to be run by hand.", "inferd-engine");
  app.add_option("--variant", options.variant, "Use this CPU variant");
  app.add_option("--skip-variant", options.skip_variants, "CPU variants that do not run here")->allow_extra_args(false);
  inferd::engine::PlanCommand plan;
  bool only_plan = false, only_probe = false;
  app.add_flag("--sandbox-probe", only_probe, "Try every way out of the sandbox, say what was refused, and end");
  app.add_flag("--plan", only_plan, "Print what memory a model will need, as JSON, and end");
  app.add_option("--model", plan.model, "With --plan: the GGUF file");
  app.add_option("--n-ctx", plan.sizes.n_ctx, "With --plan: tokens of one request");
  app.add_option("--sequences", plan.sizes.sequences, "With --plan: requests at once");
  app.add_option("--kv-cells", plan.sizes.kv_cells, "With --plan: tokens held over all requests");
  app.add_option("--host-cache-bytes", plan.host_cache_bytes, "With --plan: memory for finished sequences");
  app.add_flag("--embed", plan.embed, "With --plan: also embeddings");
  app.add_option("--sandbox", options.sandbox, "auto, required or off")->check(CLI::IsMember({"auto", "required", "off"}));
  app.add_option("--test-die-in-variant", options.die_in_variant)->group("");
  CLI11_PARSE(app, argc, argv);
  if (only_probe) return inferd::os::run_sandbox_probe(inferd::os::sandbox_mode(options.sandbox));
  if (only_plan) {
    plan.variants = options.variants;
    plan.skip_variants = options.skip_variants;
    plan.variant = options.variant;
    return inferd::engine::print_plan(plan);
  }
  if (::fcntl(kChannel, F_GETFD) < 0) {
    std::fprintf(stderr, "inferd-engine is started by inferd-daemon: descriptor %d is no channel to it\n", kChannel);
    return 2;
  }
  return inferd::engine::run_engine(options, kChannel);
}
