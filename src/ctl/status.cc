#include <cstdio>

#include "ctl/commands.h"
#include "ctl/progress.h"

namespace inferd::ctl {
namespace {

constexpr auto kAnswerTime = std::chrono::milliseconds(2'000);
constexpr size_t kMostFrames = 64;  // capabilities of so many backends come before the status

}  // namespace

// The snapshot: the capabilities of every backend, then the lifecycle status.
int show_status(const GlobalOptions& global) {
  auto stream = client::StatusStream::connect(global.admin_socket);
  if (!stream) {
    report(stream.error());
    return kError;
  }
  for (size_t i = 0; i < kMostFrames; ++i) {
    const auto event = stream->next(kAnswerTime);
    if (!event) {
      report(event.error());
      return kError;
    }
    if (global.json) {
      std::printf("%s\n", event->line.c_str());
    } else {
      std::printf("%s\n", describe(*event, 400).c_str());
    }
    if (event->status != "capabilities") return event->status == "ready" ? kOk : kNotReady;
  }
  return kError;
}

}  // namespace inferd::ctl
