#include <cstdio>
#include <fstream>
#include <sstream>
#include <utility>

#include "ctl/commands.h"
#include "ctl/connect_when_ready.h"
#include "ctl/conversation.h"
#include "os/terminal.h"

namespace inferd::ctl {
namespace {

using client::Client;

client::Expected<Client> connect(const GlobalOptions& global, const RunOptions& options) {
  return connect_when_ready<Client>(global, global.endpoint, options.wait, "");
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
  begin_conversation();
  for (;;) {
    const auto line = read_turn("> ");
    if (!line) return kOk;
    if (line->empty()) continue;
    request.messages.push_back({"user", *line});
    auto answer = ask(client, request, global.json);
    if (answer) {
      request.messages.push_back({"assistant", answer->content});
      continue;
    }
    request.messages.pop_back();  // a turn without an answer is not part of the history
    if (report_unanswered(answer.error())) continue;
    auto again = connect(global, options);
    if (!again) return report(again.error());
    client = std::move(*again);
  }
}

}  // namespace

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
  if (options.typed) return run_typed(global, options, prompt);
  auto client = connect(global, options);
  if (!client) return report(client.error());
  if (options.interactive) return converse(global, options, std::move(*client), std::move(request));
  request.messages.push_back({"user", std::move(prompt)});
  const auto answer = ask(*client, request, global.json);
  if (!answer) return report(answer.error());
  return kOk;
}

}  // namespace inferd::ctl
