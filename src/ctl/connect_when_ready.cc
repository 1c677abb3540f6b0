#include "ctl/connect_when_ready.h"

#include <chrono>

#include "ctl/progress.h"
#include "os/terminal.h"

namespace inferd::ctl {

bool is_worth_waiting(const GlobalOptions& global, const WaitOptions& wait) {
  return wait.seconds > 0 && (wait.for_start || client::StatusStream::connect(global.admin_socket));
}

client::Expected<void> wait_until_ready(const GlobalOptions& global, const WaitOptions& wait) {
  ProgressLine line;
  return client::wait_ready(global.admin_socket, std::chrono::seconds(wait.seconds), [&line](const client::StatusEvent& event) {
    line.show(describe(event, os::terminal_width() - 1));
  });
}

}  // namespace inferd::ctl
