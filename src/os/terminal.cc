#include "os/terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace inferd::os {
namespace {

std::function<void()> g_handler;
struct sigaction g_before;

void on_signal(int) {
  const int saved = errno;
  g_handler();
  errno = saved;
}

int descriptor_of(StandardStream stream) {
  return stream == StandardStream::kIn ? STDIN_FILENO : stream == StandardStream::kOut ? STDOUT_FILENO : STDERR_FILENO;
}

}  // namespace

bool is_terminal(StandardStream stream) { return ::isatty(descriptor_of(stream)) == 1; }

size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

InterruptHandler::InterruptHandler(std::function<void()> handler) {
  g_handler = std::move(handler);
  struct sigaction action{};
  action.sa_handler = &on_signal;  // without SA_RESTART: a blocked read of a line returns
  ::sigaction(SIGINT, &action, &g_before);
}

InterruptHandler::~InterruptHandler() { ::sigaction(SIGINT, &g_before, nullptr); }

TypedLine read_typed_line() {
  static std::string pending;  // typed ahead
  for (;;) {
    if (const size_t end = pending.find('\n'); end != std::string::npos) {
      TypedLine line{TypedLine::State::kLine, pending.substr(0, end)};
      pending.erase(0, end + 1);
      return line;
    }
    char buffer[4096];
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) {
      pending.clear();
      return {TypedLine::State::kInterrupted, {}};
    }
    if (n <= 0) {
      if (pending.empty()) return {TypedLine::State::kEnd, {}};
      TypedLine line{TypedLine::State::kLine, {}};
      line.text.swap(pending);
      return line;
    }
    pending.append(buffer, static_cast<size_t>(n));
  }
}

std::string read_standard_input() {
  std::string text;
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace inferd::os
