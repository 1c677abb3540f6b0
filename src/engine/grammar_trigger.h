// Watches an answer for the text with which its grammar begins, outside of the model's thinking. llama.cpp's own lazy grammars look at all that
// has come with each token, which takes longer and longer; they get only the tokens that this one found. Step thread; pure.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar.h"

namespace inferd::engine {

class GrammarTrigger {
 public:
  /// Throws std::regex_error for a pattern that is none.
  explicit GrammarTrigger(Grammar::Triggers triggers);

  /// Adds a token with its text. The tokens that the trigger stands in, up to this one; empty: it has not come.
  std::vector<Token> push(Token token, std::string_view piece);

  /// What llama_sampler_init_grammar_lazy_patterns wants to hear: patterns, the words among them.
  static std::vector<std::string> patterns_of(const Grammar::Triggers& triggers);

 private:
  struct Held {
    Token token;
    size_t end;  // of its text in the answer
  };
  std::optional<size_t> find_trigger() const;
  void forget_old();

  const Grammar::Triggers triggers_;
  std::vector<std::regex> patterns_;
  size_t window_ = 0;       // bytes that a trigger or a mark of thinking may be long
  std::string text_;        // the end of the answer
  size_t begin_ = 0;        // of text_ in the answer
  size_t searched_ = 0;     // of text_: nothing begins before this
  bool thinking_ = false;
  std::deque<Held> tokens_;  // those in text_
};

}  // namespace inferd::engine
