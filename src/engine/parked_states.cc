#include "engine/parked_states.h"

#include <algorithm>

namespace inferd::engine {

void ParkedStates::add(State state) {
  if (state.bytes.size() > budget_) return;
  std::erase_if(states_, [&](const State& other) {
    const bool replaced = keep_beginnings_ ? other.tokens.size() == state.tokens.size() : other.tokens.size() <= state.tokens.size();
    const bool beginning = replaced && other.scope == state.scope && std::equal(other.tokens.begin(), other.tokens.end(), state.tokens.begin());
    if (beginning) bytes_ -= other.bytes.size();
    return beginning;
  });
  bytes_ += state.bytes.size();
  states_.push_front(std::move(state));
  while (bytes_ > budget_) {
    bytes_ -= states_.back().bytes.size();
    states_.pop_back();
  }
}

bool ParkedStates::covers(std::span<const Token> tokens, uint64_t scope) const {
  return std::ranges::any_of(states_, [&](const State& state) {
    const bool long_enough = keep_beginnings_ ? state.tokens.size() == tokens.size() : state.tokens.size() >= tokens.size();
    return long_enough && state.scope == scope && std::equal(tokens.begin(), tokens.end(), state.tokens.begin());
  });
}

ParkedStates::Match ParkedStates::find(std::span<const Token> prompt, uint64_t scope, bool whole) {
  auto best = states_.end();
  size_t shared = 0;
  for (auto at = states_.begin(); at != states_.end(); ++at) {
    if (at->scope != scope) continue;
    const size_t common = SequenceTable::common_prefix(at->tokens, prompt);
    if (common > shared && !(whole && common < at->tokens.size())) {
      shared = common;
      best = at;
    }
  }
  if (best == states_.end()) return {};
  states_.splice(states_.begin(), states_, best);
  return {&states_.front(), shared};
}

}  // namespace inferd::engine
