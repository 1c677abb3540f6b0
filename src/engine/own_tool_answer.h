// Finds the calls of our own tool form (own_tool_form.h) in the text of another answer stream. Step thread; one object a request.
#pragma once

#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/answer_stream.h"
#include "engine/tool_calls.h"

namespace inferd::engine {

class OwnToolAnswer : public AnswerStream {
 public:
  /// `text` gives text and thinking. `names`: the tools that may be called.
  OwnToolAnswer(std::unique_ptr<AnswerStream> text, std::set<std::string> names, CallIds ids);

  bool push(std::string_view bytes, std::vector<Piece>& out) override;
  Status finish(bool ended, std::vector<Piece>& out) override;
  bool is_turn_end() const override { return text_->is_turn_end(); }
  bool has_calls() const override { return has_calls_; }

 private:
  /// Finds the end of a JSON object byte by byte.
  class ObjectEnd {
   public:
    enum class State { kBefore, kInside, kBehind, kWrong };
    State add(char c);
    State state() const { return state_; }

   private:
    State state_ = State::kBefore;
    size_t depth_ = 0;
    bool in_string_ = false, escaped_ = false;
  };

  void read(std::vector<Piece>& pieces, std::vector<Piece>& out);
  void read_text(std::string_view text, std::vector<Piece>& out);
  size_t read_plain(std::string_view text, std::vector<Piece>& out);
  size_t read_call(std::string_view text, std::vector<Piece>& out);
  void add_plain(std::string_view text, std::vector<Piece>& out);
  void end_call(std::vector<Piece>& out);
  bool send_call(std::vector<Piece>& out);

  std::unique_ptr<AnswerStream> text_;
  std::set<std::string> names_;
  CallIds ids_;
  std::string held_;    // of plain text: may begin <tool_call>
  std::string space_;   // white space between calls, of which nobody knows yet whether text follows
  bool in_text_ = false;
  bool in_call_ = false;
  std::string object_;  // of the call
  ObjectEnd object_end_;
  std::string behind_;  // the object: white space, then what has come of </tool_call>
  bool malformed_ = false;  // nothing is read any more
  bool has_calls_ = false;
};

}  // namespace inferd::engine
