// From the bytes of a request's tokens to the pieces of its answer. The step loop calls it on the step thread; made on a prepare thread, one
// object a request. PlainAnswer knows text only, ChatAnswer takes thinking and tool calls apart as llama.cpp's chat library does, and
// OwnToolAnswer finds the calls of our own form in the text of either.
//
// Pieces are whole UTF-8 and never empty, a call is complete. What was appended to `out` once is never taken back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "request/generate.h"

namespace inferd::engine {

class AnswerStream {
 public:
  virtual ~AnswerStream() = default;

  /// Adds a token's bytes; appends what can be sent now. True: a stop string was completed, the answer ends before it: finish() is next.
  virtual bool push(std::string_view bytes, std::vector<Piece>& out) = 0;

  /// The end: appends what was held back. `ended`: the model ended its turn; otherwise the budget or a stop string did.
  /// Error: kToolCallMalformed; what is in `out` may be sent before it.
  virtual Status finish(bool ended, std::vector<Piece>& out) = 0;

  /// After push() returned true: it was no stop string of the caller's but the template's end of a turn, as if the model had ended it.
  virtual bool is_turn_end() const { return false; }

  /// A call was appended to `out`.
  virtual bool has_calls() const { return false; }
};

/// Appends text or thinking, to the last piece if that is of the same kind. Nothing for an empty text.
inline void add_text(std::vector<Piece>& out, Piece::Kind kind, std::string_view text) {
  if (text.empty()) return;
  if (out.empty() || out.back().kind != kind) out.push_back(Piece{.kind = kind, .text = {}, .call = {}});
  out.back().text += text;
}

}  // namespace inferd::engine
