#include <cstdio>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "ctl/commands.h"
#include "ctl/connect_when_ready.h"
#include "ctl/conversation.h"
#include "ctl/json_line.h"
#include "ctl/media_file.h"
#include "ctl/tool_file.h"
#include "os/paths.h"
#include "os/terminal.h"

namespace inferd::ctl {
namespace {

using client::AnswerPiece;
using client::TypedClient;

// Puts each piece of an answer where it belongs: text and calls to standard output, thinking to standard error.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(bool thinking)
      : terminal_(os::is_terminal(os::StandardStream::kError)), thinking_(thinking || terminal_), dim_(terminal_ && !os::env("NO_COLOR")) {}

  // False when standard output takes no more.
  bool show(const AnswerPiece& piece) {
    if (piece.kind == AnswerPiece::Kind::kThinking) {
      think(piece.text);
      return true;
    }
    end_thinking();
    if (piece.kind == AnswerPiece::Kind::kText) {
      std::fwrite(piece.text.data(), 1, piece.text.size(), stdout);
      in_text_ = true;
    } else {
      end_text();
      JsonLine().text("type", "tool_use").text("tool_call_id", piece.call.id).text("name", piece.call.name).json("input", piece.call.input).print();
    }
    something_ = true;
    return std::fflush(stdout) == 0;
  }

  void end(bool answered) {
    end_thinking();
    if (answered && !something_) std::puts("");
    end_text();
    std::fflush(stdout);
  }

 private:
  void think(const std::string& text) {
    if (!thinking_) return;
    if (!in_thinking_ && dim_) std::fputs("\033[2m", stderr);
    in_thinking_ = true;
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  void end_thinking() {
    if (in_thinking_) std::fputs(dim_ ? "\033[0m\n" : "\n", stderr);
    in_thinking_ = false;
  }
  void end_text() {
    if (in_text_) std::puts("");
    in_text_ = false;
  }

  const bool terminal_, thinking_, dim_;
  bool in_thinking_ = false, in_text_ = false, something_ = false;
};

// One answer, streamed. Ctrl-C ends the answer.
client::Expected<client::TypedAnswer> ask(TypedClient& client, const client::TypedRequest& request, bool json, bool thinking) {
  const os::InterruptHandler interrupt([&client] { client.cancel(); });
  if (json) {
    const auto on_frame = [](std::string_view frame) { std::printf("%.*s\n", static_cast<int>(frame.size()), frame.data()); };
    auto answer = client.generate(request, [](const AnswerPiece&) { return std::fflush(stdout) == 0; }, on_frame);
    std::fflush(stdout);
    return answer;
  }
  AnswerPrinter printer(thinking);
  auto answer = client.generate(request, [&printer](const AnswerPiece& piece) { return printer.show(piece); });
  printer.end(answer.has_value());
  if (answer && answer->tool_choice_unsatisfied) std::fputs("note: the answer ended before it called a tool (see --max-tokens)\n", stderr);
  return answer;
}

client::ToolChoice choice_of(const std::string& word) {
  using Mode = client::ToolChoice::Mode;
  if (word == "auto") return {Mode::kAuto, {}};
  if (word == "none") return {Mode::kNone, {}};
  if (word == "required") return {Mode::kRequired, {}};
  return {Mode::kNamed, word};
}

// All but the turns of the conversation.
Result<client::TypedRequest> request_of(const RunOptions& options) {
  const client::Request& given = options.request;
  client::TypedRequest request;
  request.temperature = given.temperature;
  request.top_p = given.top_p;
  request.top_k = given.top_k;
  request.max_tokens = given.max_tokens;
  request.seed = given.seed;
  request.stop = given.stop;
  request.batch = given.batch;
  for (const std::string& file : options.typed->tool_files) {
    auto tools = read_tools(file);
    if (!tools) return std::unexpected(tools.error());
    request.tools.insert(request.tools.end(), std::make_move_iterator(tools->begin()), std::make_move_iterator(tools->end()));
  }
  if (!options.typed->tool_choice.empty()) request.tool_choice = choice_of(options.typed->tool_choice);
  if (!options.typed->schema_file.empty()) {
    auto schema = read_schema(options.typed->schema_file);
    if (!schema) return std::unexpected(schema.error());
    request.json_schema = std::move(*schema);
  }
  if (!options.system.empty()) request.messages.push_back({"system", {{client::TextPart{options.system}}}});
  return request;
}

Result<std::vector<client::Part>> media_of(const TypedOptions& options) {
  std::vector<client::Part> parts;
  size_t room = kMaxMediaBytes;
  for (const std::string& file : options.images) {
    auto image = read_image(file, room);
    if (!image) return std::unexpected(image.error());
    room -= image->rgb.size();
    parts.push_back({std::move(*image)});
  }
  for (const std::string& file : options.sounds) {
    auto sound = read_audio(file, room);
    if (!sound) return std::unexpected(sound.error());
    room -= sound->samples.size() * sizeof(float);
    parts.push_back({std::move(*sound)});
  }
  return parts;
}

client::TypedMessage message_of(client::TypedAnswer answer) {
  client::TypedMessage message{"assistant", {}};
  if (!answer.text.empty() || answer.tool_calls.empty()) message.content.push_back({client::TextPart{std::move(answer.text)}});
  for (client::ToolCall& call : answer.tool_calls) {
    message.content.push_back({client::ToolUsePart{std::move(call.id), std::move(call.name), std::move(call.input)}});
  }
  return message;
}

// What the user says next: the result of each open call, else a line, the first time with the media. Nothing at the end of the input.
std::optional<std::vector<client::Part>> next_turn(const std::vector<client::ToolCall>& open_calls, const std::vector<client::Part>& media) {
  std::vector<client::Part> content;
  for (const client::ToolCall& call : open_calls) {
    auto result = read_turn("result of " + printable(call.name) + "> ");
    if (!result) return std::nullopt;
    content.push_back({client::ToolResultPart{call.id, {{client::TextPart{std::move(*result)}}}}});
  }
  if (!content.empty()) return content;
  auto line = read_turn("> ");
  while (line && line->empty()) line = read_turn("> ");
  if (!line) return std::nullopt;
  content = media;
  content.push_back({client::TextPart{std::move(*line)}});
  return content;
}

client::Expected<TypedClient> connect(const GlobalOptions& global, const RunOptions& options) {
  return connect_when_ready<TypedClient>(global, options.typed->endpoint, options.wait, "--v2");
}

int converse(const GlobalOptions& global, const RunOptions& options, TypedClient client, client::TypedRequest request,
             std::vector<client::Part> media) {
  begin_conversation();
  std::vector<client::ToolCall> open_calls;
  while (auto content = next_turn(open_calls, media)) {
    request.messages.push_back({"user", std::move(*content)});
    auto answer = ask(client, request, global.json, options.typed->thinking);
    if (answer) {
      media.clear();
      open_calls = answer->tool_calls;
      request.messages.push_back(message_of(std::move(*answer)));
      continue;
    }
    request.messages.pop_back();  // a turn without an answer is not part of the history
    if (report_unanswered(answer.error())) continue;
    auto again = connect(global, options);
    if (!again) return report(again.error());
    client = std::move(*again);
  }
  return kOk;
}

}  // namespace

int run_typed(const GlobalOptions& global, const RunOptions& options, const std::string& prompt) {
  auto request = request_of(options);
  if (!request) return report(request.error());
  auto media = media_of(*options.typed);
  if (!media) return report(media.error());
  auto client = connect(global, options);
  if (!client) return report(client.error());
  if (options.interactive) return converse(global, options, std::move(*client), std::move(*request), std::move(*media));
  media->push_back({client::TextPart{prompt}});
  request->messages.push_back({"user", std::move(*media)});
  const auto answer = ask(*client, *request, global.json, options.typed->thinking);
  if (!answer) return report(answer.error());
  return kOk;
}

}  // namespace inferd::ctl
