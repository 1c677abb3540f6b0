#include <fmt/core.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "base/utf8.h"
#include "ctl/commands.h"
#include "os/paths.h"

namespace inferd::ctl {
namespace {

// Line by line: a message may end with what another program wrote.
std::string printable_lines(std::string_view text) {
  std::string out;
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    out += printable(text.substr(0, end)) + '\n';
    text.remove_prefix(end + 1);
  }
  return out + printable(text);
}

class TerminalLog : public log::Sink {
 public:
  void record(log::Level level, std::string_view component, std::string_view message) override {
    fmt::print(stderr, "{} {}: {}\n", log::level_name(level), component, printable(message));
  }
};

}  // namespace

int report(const client::Failure& failure) {
  using Failure = client::Failure;
  std::fprintf(stderr, "error: %s%s%s\n", failure.code.c_str(), failure.code.empty() ? "" : ": ", printable_lines(failure.message).c_str());
  switch (failure.kind) {
    case Failure::Kind::kUnreachable:
      std::fputs("Is inferd-daemon running? Start it, or name its sockets (--uds, --v2-addr, --embed-addr, --admin-addr).\n", stderr);
      return kUnreachable;
    case Failure::Kind::kNotPermitted:
    case Failure::Kind::kTimeout:
    case Failure::Kind::kFailedStart:
      return kUnreachable;
    case Failure::Kind::kRefused:
      if (failure.code == "invalid_request" || failure.code == "frame_too_large") return kInvalidRequest;
      if (failure.code == "attachment_unsupported" || failure.code == "embed_unsupported") return kInvalidRequest;
      if (failure.code == "queue_full") return kQueueFull;
      if (failure.code == "backend_unavailable") return kBackendUnavailable;
      return kInternal;
    case Failure::Kind::kLost:
    case Failure::Kind::kProtocol:
      return kLost;
    case Failure::Kind::kCancelled:
      return kInterrupted;
  }
  return kError;
}

int report(const Error& error) {
  std::fprintf(stderr, "error: %s\n", printable_lines(error.message).c_str());
  return kError;
}

int report_interrupted(const std::string& what_is_left) {
  std::fprintf(stderr, "interrupted: %s\n", printable(what_is_left).c_str());
  return kInterrupted;
}

log::Sink& terminal_log() {
  static TerminalLog sink;
  return sink;
}

log::Filter log_filter() { return log::Filter::parse(os::env("INFERD_CLI_LOG").value_or("warn").c_str()); }

}  // namespace inferd::ctl
