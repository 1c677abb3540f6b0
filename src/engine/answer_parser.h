// Takes an answer, or what has come of it, apart into thinking, text and tool calls, by the parser that llama.cpp's chat library made for a
// template and a request. Made on a prepare thread, used on the step thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "request/generate.h"

struct common_chat_params;

namespace inferd::engine {

struct AnswerPart {
  Piece::Kind kind = Piece::Kind::kText;
  std::string text;             // kText, kThinking: as it was written, also the white space around it
  std::string name, arguments;  // kToolCall: `arguments` may be unfinished JSON while the answer is
};

struct ParsedAnswer {
  bool refused = false;           // the text does not have the template's form; no parts
  bool open = false;              // what would end the last part has not come
  std::vector<AnswerPart> parts;  // in order; neighbours differ in kind, but for calls
  size_t covered = 0;             // bytes of the text that the parts stand for or that were read as the template's own marks
  size_t depth = 0;               // of the tree that was found: the parser recurses
};

class AnswerParser {
 public:
  /// Error: the library's parser cannot be read back (kInternal).
  static Result<std::shared_ptr<const AnswerParser>> create(const common_chat_params& params);
  ~AnswerParser();

  /// Never throws. Takes about 6 microseconds a kilobyte of text, and 50 of JSON; recurses with every bracket that nests.
  ParsedAnswer parse(std::string_view text) const;

 private:
  AnswerParser();
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace inferd::engine
