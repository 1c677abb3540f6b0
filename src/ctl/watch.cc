#include <cstdio>

#include "ctl/commands.h"
#include "ctl/progress.h"
#include "os/terminal.h"

namespace inferd::ctl {

// Every event until the daemon closes: a live line on a terminal, JSON lines otherwise.
int watch(const GlobalOptions& global) {
  auto stream = client::StatusStream::connect(global.admin_socket);
  if (!stream) {
    report(stream.error());
    return kError;
  }
  const bool live = !global.json && os::is_terminal(os::StandardStream::kOut) && os::is_terminal(os::StandardStream::kError);
  ProgressLine line;
  for (;;) {
    const auto event = stream->next();
    if (!event) {
      line.clear();
      report(event.error());
      return kError;
    }
    if (live) {
      line.show(describe(*event, os::terminal_width() - 1));
    } else {
      std::printf("%s\n", event->line.c_str());
      std::fflush(stdout);
    }
  }
}

}  // namespace inferd::ctl
