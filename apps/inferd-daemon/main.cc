#include <cstdio>
#include <utility>

#include "config/check_config.h"
#include "config/options.h"
#include "daemon/daemon.h"
#include "os/secret_memory.h"
#include "os/system.h"

int main(int argc, char** argv) {
  inferd::os::prepare_process();
  auto parsed = inferd::parse_command_line(argc, argv);
  if (!parsed) {
    std::fprintf(stderr, "inferd-daemon: %s\nTry --help.\n", parsed.error().message.c_str());
    return 2;
  }
  if (!parsed->options) {
    std::fputs(parsed->text.c_str(), stdout);
    return 0;
  }
  inferd::os::hide_arguments(argc, argv, inferd::kSecretOptions);
  if (parsed->options->check_config) return inferd::check_config(*parsed->options);
  return inferd::run_daemon(std::move(*parsed->options));
}
