#include <cstdio>
#include <fstream>
#include <sstream>
#include <utility>

#include "ctl/commands.h"
#include "ctl/progress.h"
#include "os/terminal.h"

namespace inferd::ctl {
namespace {

using client::Client;
using client::Failure;

// Connects; while the daemon is still loading, shows how far it is and waits.
client::Expected<Client> connect(const GlobalOptions& global, const RunOptions& options) {
  auto connected = Client::connect(global.endpoint);
  if (connected || connected.error().kind != Failure::Kind::kUnreachable || options.wait_seconds == 0) return connected;
  if (!options.wait_for_start && !client::StatusStream::connect(global.admin_socket)) return connected;  // nobody is loading either
  ProgressLine line;
  const auto ready = client::wait_ready(global.admin_socket, std::chrono::seconds(options.wait_seconds), [&](const client::StatusEvent& event) {
    line.show(describe(event, os::terminal_width() - 1));
  });
  if (!ready) return std::unexpected(ready.error());
  return Client::connect(global.endpoint);
}

// One answer, streamed to standard output. Ctrl-C ends the answer.
client::Expected<client::Answer> ask(Client& client, const client::Request& request, bool json) {
  const os::InterruptHandler interrupt([&client] { client.cancel(); });
  const auto on_text = [json](std::string_view piece) {
    if (!json) std::fwrite(piece.data(), 1, piece.size(), stdout);
    return std::fflush(stdout) == 0;
  };
  const auto on_frame = [json](std::string_view frame) {
    if (json) std::printf("%.*s\n", static_cast<int>(frame.size()), frame.data());
  };
  auto answer = client.generate(request, on_text, on_frame);
  if (!json) std::puts("");
  std::fflush(stdout);
  return answer;
}

int converse(const GlobalOptions& global, const RunOptions& options, Client client, client::Request request) {
  const bool prompt = os::is_terminal(os::StandardStream::kIn);
  if (prompt) std::fputs("Ctrl-C stops an answer, Ctrl-D ends the conversation.\n", stderr);
  for (;;) {
    os::TypedLine line;
    {
      const os::InterruptHandler interrupt([] {});
      if (prompt) std::fputs("> ", stderr);
      line = os::read_typed_line();
    }
    if (line.state == os::TypedLine::State::kEnd) return kOk;
    if (line.state == os::TypedLine::State::kInterrupted) {
      std::fputs("\n(Ctrl-D ends the conversation)\n", stderr);
      continue;
    }
    if (line.text.empty()) continue;
    request.messages.push_back({"user", line.text});
    auto answer = ask(client, request, global.json);
    if (answer) {
      request.messages.push_back({"assistant", answer->content});
      continue;
    }
    request.messages.pop_back();  // a turn without an answer is not part of the history
    if (answer.error().kind == Failure::Kind::kCancelled) {
      std::fputs("(stopped)\n", stderr);
    } else {
      report(answer.error());
    }
    if (answer.error().kind == Failure::Kind::kRefused) continue;
    auto again = connect(global, options);
    if (!again) return report(again.error());
    client = std::move(*again);
  }
}

}  // namespace

int report(const Failure& failure) {
  std::fprintf(stderr, "error: %s%s%s\n", failure.code.c_str(), failure.code.empty() ? "" : ": ", failure.message.c_str());
  switch (failure.kind) {
    case Failure::Kind::kUnreachable:
      std::fputs("Is inferd-daemon running? Start it, or name its socket (--uds, --admin-addr).\n", stderr);
      return kUnreachable;
    case Failure::Kind::kNotPermitted:
    case Failure::Kind::kTimeout:
    case Failure::Kind::kFailedStart:
      return kUnreachable;
    case Failure::Kind::kRefused:
      if (failure.code == "invalid_request" || failure.code == "frame_too_large") return kInvalidRequest;
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

int run_prompt(const GlobalOptions& global, const RunOptions& options) {
  client::Request request = options.request;
  if (!options.grammar_file.empty()) {
    std::ifstream file(options.grammar_file);
    std::stringstream text;
    text << file.rdbuf();
    if (!file) {
      std::fprintf(stderr, "error: %s cannot be read\n", options.grammar_file.c_str());
      return kError;
    }
    request.grammar = text.str();
  }
  if (!options.grammar_file.empty() && request.grammar.empty()) {
    std::fprintf(stderr, "error: %s is empty: no grammar\n", options.grammar_file.c_str());
    return kError;
  }
  if (!options.system.empty()) request.messages.push_back({"system", options.system});
  std::string prompt;
  if (!options.interactive) {
    if (!options.prompt && os::is_terminal(os::StandardStream::kIn)) {
      std::fputs("error: no prompt: give one as an argument, on standard input, or use -i\n", stderr);
      return kError;
    }
    prompt = options.prompt ? *options.prompt : os::read_standard_input();
    if (prompt.empty()) {
      std::fputs("error: the prompt is empty\n", stderr);
      return kError;
    }
  }
  auto client = connect(global, options);
  if (!client) return report(client.error());
  if (options.interactive) return converse(global, options, std::move(*client), std::move(request));
  request.messages.push_back({"user", std::move(prompt)});
  const auto answer = ask(*client, request, global.json);
  if (!answer) return report(answer.error());
  return kOk;
}

}  // namespace inferd::ctl
