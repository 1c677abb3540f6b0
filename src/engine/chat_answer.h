// An answer in a chat template's own form: thinking, text and tool calls, told apart by llama.cpp's chat library. The library reads an answer
// from its first byte each time, so it is asked as often as its share of the answer's time allows, and what came meanwhile is one larger delta.
// Step thread; one object a request.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/answer_parser.h"
#include "engine/answer_stream.h"
#include "engine/text_stream.h"
#include "engine/tool_calls.h"

namespace inferd::engine {

class ChatAnswer : public AnswerStream {
 public:
  struct Options {
    std::function<ParsedAnswer(std::string_view)> parse;  // of all that has come
    std::vector<std::string> stop;                        // the caller's
    std::vector<std::string> turn_ends;                   // texts that end the turn in this template
    std::vector<std::string> call_openers;                // a text that holds one of these is not just text; empty: no tools
    std::vector<std::string> marks;                       // the template's own, which are never text
    CallIds ids;
    double parse_share = 0.03;                            // of the time since the first token
  };

  explicit ChatAnswer(Options options);

  bool push(std::string_view bytes, std::vector<Piece>& out) override;
  Status finish(bool ended, std::vector<Piece>& out) override;
  bool is_turn_end() const override { return turn_end_; }
  bool has_calls() const override { return has_calls_; }

 private:
  using Clock = std::chrono::steady_clock;
  /// What has been sent of a part.
  struct Sent {
    Piece::Kind kind = Piece::Kind::kText;
    std::string text;
  };

  void add(std::string_view text);
  bool is_parse_due();
  bool parse();
  void send(const ParsedAnswer& answer, bool last, std::vector<Piece>& out);
  bool send_call(const AnswerPart& part, std::vector<Piece>& out);
  void send_text(Sent& sent, Piece::Kind kind, std::string_view text, std::vector<Piece>& out);
  void add_rest(ParsedAnswer& answer, std::string_view rest, bool ended) const;
  bool holds_opener(std::string_view text) const;

  Options options_;
  TextStream caller_stops_, turn_stops_;
  std::string text_;       // all of the answer
  ParsedAnswer parsed_;    // of the last time that it could be read
  std::vector<Sent> sent_;
  size_t brackets_ = 0;    // opened since then
  bool unreadable_ = false;  // it may nest too deep for the parser
  bool malformed_ = false;
  bool has_calls_ = false;
  bool turn_end_ = false, stopped_ = false;
  bool started_ = false;
  Clock::time_point first_{};
  Clock::duration spent_{};
};

}  // namespace inferd::engine
