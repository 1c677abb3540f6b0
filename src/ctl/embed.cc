#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ctl/commands.h"
#include "ctl/connect_when_ready.h"
#include "ctl/embed_line.h"
#include "ctl/json_line.h"
#include "os/system.h"
#include "os/terminal.h"

namespace inferd::ctl {
namespace {

using client::EmbedClient;

// Of a line, and of the texts of one request: written as JSON they have six times as many at most, and fit a frame.
constexpr size_t kMaxBytes = 8u << 20;

// Standard input, line by line. Byte for byte: a program that sends a line and waits for its vector must not wait for a full buffer.
class InputLines {
 public:
  // The next line without its LF, with its number; nothing at the end. kUsage for one that is too long.
  Result<std::optional<std::string>> next() {
    std::string line;
    ++number_;
    for (int c = std::getc(stdin); c != '\n'; c = std::getc(stdin)) {
      if (c == EOF && std::ferror(stdin)) return fail(Code::kIo, "standard input cannot be read");
      if (c == EOF && line.empty()) return std::nullopt;
      if (c == EOF) break;
      if (line.size() == kMaxBytes) return fail(Code::kUsage, "longer than " + std::to_string(kMaxBytes) + " bytes");
      line += static_cast<char>(c);
    }
    return line;
  }
  uint64_t number() const { return number_; }

 private:
  uint64_t number_ = 0;
};

// The lines of one request.
struct Batch {
  client::EmbedRequest request;
  std::vector<std::string> ids;      // JSON texts
  std::vector<uint64_t> line_numbers;
  size_t bytes = 0;

  void add(EmbedLine line, uint64_t number) {
    bytes += line.text.size();
    request.input.push_back(std::move(line.text));
    ids.push_back(std::move(line.id));
    line_numbers.push_back(number);
  }
  void clear() {
    request.input.clear();
    ids.clear();
    line_numbers.clear();
    bytes = 0;
  }
};

// "line 7" or "lines 5 to 9": of the daemon's messages some name an input by its place in the request.
std::string where(const Batch& batch, const std::string& message) {
  constexpr std::string_view kInput = "input[";
  if (const size_t at = message.find(kInput); at != std::string::npos) {
    size_t place = 0;
    const char* begin = message.data() + at + kInput.size();
    const auto read = std::from_chars(begin, message.data() + message.size(), place);
    if (read.ec == std::errc() && place < batch.line_numbers.size()) return "line " + std::to_string(batch.line_numbers[place]);
  }
  const std::string first = std::to_string(batch.line_numbers.front());
  if (batch.line_numbers.size() == 1) return "line " + first;
  return "lines " + first + " to " + std::to_string(batch.line_numbers.back());
}

std::string json_of(std::span<const float> vector) {
  std::string text = "[";
  char digits[32];
  for (const float value : vector) {
    if (text.size() > 1) text += ',';
    text.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);  // finite: the client takes nothing else
  }
  return text + "]";
}

// Reads lines, asks for their vectors and writes these. Returns the exit code.
class Embedding {
 public:
  Embedding(EmbedClient& client, const EmbedOptions& options, const std::atomic<bool>& stopped)
      : client_(client), options_(options), stopped_(stopped) {
    batch_.request.dimensions = options.dimensions;
    batch_.request.task = options.task;
  }

  int run() {
    for (;;) {
      auto line = input_.next();
      if (stopped_) return interrupted();
      // What came before a line that is wrong is answered.
      if (!line) return refuse_line(line.error());
      if (!*line) return answer();
      auto parsed = parse(**line);
      if (!parsed) return refuse_line(parsed.error());
      if (!*parsed) continue;
      if (batch_.bytes + (*parsed)->text.size() > kMaxBytes) {
        if (const int code = answer(); code != kOk) return code;
      }
      batch_.add(std::move(**parsed), input_.number());
      if (batch_.request.input.size() < options_.batch) continue;
      if (const int code = answer(); code != kOk) return code;
    }
  }

 private:
  Result<std::optional<EmbedLine>> parse(const std::string& line) const {
    if (options_.plain_text) return parse_text_line(line);
    return parse_json_line(line);
  }

  int refuse_line(const Error& error) {
    if (const int code = answer(); code != kOk) return code;
    return report(Error{error.code, "line " + std::to_string(input_.number()) + ": " + error.message});
  }

  int interrupted() const { return report_interrupted("not all lines were embedded"); }

  int answer() {
    if (batch_.request.input.empty()) return kOk;
    const auto answer = client_.embed(batch_.request);
    if (!answer && stopped_) return interrupted();
    if (!answer) {
      client::Failure failure = answer.error();
      failure.message = where(batch_, failure.message) + ": " + failure.message;
      return report(failure);
    }
    for (size_t i = 0; i < batch_.ids.size(); ++i) {
      JsonLine line;
      if (!batch_.ids[i].empty()) line.json("id", batch_.ids[i]);
      line.number("index", index_++).json("embedding", json_of(answer->vector(i))).print();
    }
    if (std::ferror(stdout)) return report(Error{Code::kIo, "standard output cannot be written"});
    batch_.clear();
    return kOk;
  }

  EmbedClient& client_;
  const EmbedOptions& options_;
  const std::atomic<bool>& stopped_;
  InputLines input_;
  Batch batch_;
  uint64_t index_ = 0;  // of the next line of the output
};

}  // namespace

int embed_lines(const GlobalOptions& global, const EmbedOptions& options) {
  auto client = connect_when_ready<EmbedClient>(global, options.endpoint, options.wait, "--embed");
  if (!client) return report(client.error());
  std::atomic<bool> stopped{false};
  const os::InterruptHandler interrupt([&] {
    if (stopped.exchange(true)) os::exit_now(kInterrupted);  // the first may have come just before it began to wait for a line
    client->cancel();
  });
  return Embedding(*client, options, stopped).run();
}

}  // namespace inferd::ctl
