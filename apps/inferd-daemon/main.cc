#include <cstdio>

#include "config/options.h"
#include "daemon/daemon.h"

int main(int argc, char** argv) {
  const auto parsed = inferd::parse_command_line(argc, argv);
  if (!parsed) {
    std::fprintf(stderr, "inferd-daemon: %s\nTry --help.\n", parsed.error().message.c_str());
    return 2;
  }
  if (!parsed->options) {
    std::fputs(parsed->text.c_str(), stdout);
    return 0;
  }
  return inferd::run_daemon(*parsed->options);
}
