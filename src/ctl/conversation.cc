#include "ctl/conversation.h"

#include <cstdio>
#include <utility>

#include "ctl/commands.h"
#include "os/terminal.h"

namespace inferd::ctl {

void begin_conversation() {
  if (os::is_terminal(os::StandardStream::kIn)) std::fputs("Ctrl-C stops an answer, Ctrl-D ends the conversation.\n", stderr);
}

std::optional<std::string> read_turn(const std::string& prompt) {
  const os::InterruptHandler interrupt([] {});
  for (;;) {
    if (os::is_terminal(os::StandardStream::kIn)) std::fputs(prompt.c_str(), stderr);
    os::TypedLine line = os::read_typed_line();
    if (line.state == os::TypedLine::State::kEnd) return std::nullopt;
    if (line.state == os::TypedLine::State::kLine) return std::move(line.text);
    std::fputs("\n(Ctrl-D ends the conversation)\n", stderr);
  }
}

bool report_unanswered(const client::Failure& failure) {
  if (failure.kind == client::Failure::Kind::kCancelled) {
    std::fputs("(stopped)\n", stderr);
  } else {
    report(failure);
  }
  return failure.kind == client::Failure::Kind::kRefused;
}

}  // namespace inferd::ctl
