// Finished sequences outside the KV cache: their state as llama.cpp saves it, in host memory, with a budget. In the cache they would cost
// every running sequence time (each step looks at all used cells); here they cost a copy when they are used again.
// Step thread. Choosing is pure; saving and restoring is the step loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "engine/sequence_table.h"

namespace inferd::engine {

class ParkedStates {
 public:
  struct State {
    uint64_t scope = 0;            // only requests of the same scope may use it
    std::vector<Token> tokens;     // of which this is the state
    std::vector<uint8_t> bytes;    // llama_state_seq_get_data
  };
  struct Match {
    const State* state = nullptr;
    size_t shared = 0;             // tokens that it has in common with the prompt
  };

  /// `keep_beginnings`: for memories whose states cannot be cut, so that a beginning of a longer state is of use by itself.
  explicit ParkedStates(size_t budget_bytes, bool keep_beginnings = false) : budget_(budget_bytes), keep_beginnings_(keep_beginnings) {}

  /// Keeps a state as the most recently used one; those that say no more than it go, and the least recently used beyond the budget.
  /// One that is larger than the budget is not kept.
  void add(State state);

  /// The state with the longest beginning in common with the prompt (at most prompt.size() - 1 tokens), which becomes the most recently
  /// used one. `whole`: only states that are entirely a beginning of the prompt. Valid until the next add().
  Match find(std::span<const Token> prompt, uint64_t scope, bool whole);

  /// Whether a state is kept from which all of `tokens` can be had.
  bool covers(std::span<const Token> tokens, uint64_t scope) const;

  size_t budget() const { return budget_; }

  size_t bytes() const { return bytes_; }
  size_t size() const { return states_.size(); }

 private:
  const size_t budget_;
  const bool keep_beginnings_;
  size_t bytes_ = 0;
  std::list<State> states_;  // most recently used first
};

}  // namespace inferd::engine
