// What constrains an answer: made when a request is rendered (prepare thread), used by the Sampler. Plain data.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/sequence_table.h"

namespace inferd::engine {

/// A grammar of ours or of llama.cpp's chat library; one that a caller wrote has the limits of spec 08 §3.4.
inline constexpr size_t kMaxGeneratedGrammarBytes = 1u << 20;

struct Grammar {
  std::string gbnf = {};  // start rule `root`; empty: nothing is constrained
  bool from_caller = false;

  /// The beginning of it that stands at the end of the prompt already, and tokens that end with it (the first of them may begin before it).
  std::string begun = {};
  std::vector<Token> begun_tokens = {};

  /// Nothing is constrained before one of these comes in the answer; the grammar begins with it. Empty: from the first token on.
  struct Triggers {
    std::vector<std::string> words = {};
    std::vector<std::string> patterns = {};  // ECMAScript, over at most 256 bytes; the grammar begins with the first group that matched
    std::string thinking_open = {};          // from here to one of thinking_close nothing triggers; empty: no thinking
    std::vector<std::string> thinking_close = {};
    bool thinking = false;                   // the answer begins in there

    bool empty() const { return words.empty() && patterns.empty(); }
  } triggers = {};
};

}  // namespace inferd::engine
