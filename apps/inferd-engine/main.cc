// Started by inferd-daemon only, which passes the channel as descriptor 3.
#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "engine/engine_process.h"

int main(int argc, char** argv) {
  constexpr int kChannel = 3;
  inferd::engine::EngineOptions options;
  std::error_code error;
  options.variants = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  CLI::App app("Holds one language model. Started by inferd-daemon; not meant to be run by hand.", "inferd-engine");
  app.add_option("--variant", options.variant, "Use this CPU variant");
  app.add_option("--skip-variant", options.skip_variants, "CPU variants that do not run here")->allow_extra_args(false);
  app.add_option("--test-die-in-variant", options.die_in_variant)->group("");
  CLI11_PARSE(app, argc, argv);
  if (::fcntl(kChannel, F_GETFD) < 0) {
    std::fprintf(stderr, "inferd-engine is started by inferd-daemon: descriptor %d is no channel to it\n", kChannel);
    return 2;
  }
  return inferd::engine::run_engine(options, kChannel);
}
