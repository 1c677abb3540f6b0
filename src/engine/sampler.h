// Chooses the next token of one sequence: [grammar] -> top-k -> top-p -> temperature -> seeded distribution (spec 08 §3.4); greedy where
// the temperature is <= 0. A grammar constrains from the first token on, or from its trigger. Step thread, one object a request; made on a
// prepare thread (a grammar is compiled there).
#pragma once

#include <llama.h>

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/grammar.h"
#include "engine/grammar_trigger.h"
#include "engine/model.h"
#include "request/generate.h"

namespace inferd::engine {

class Sampler {
 public:
  /// Errors are kInvalidRequest: the grammar is too large, too deep or cannot be parsed; kInternal: it does not begin with what it should.
  static Result<std::unique_ptr<Sampler>> create(const Model& model, const Sampling& sampling, const Grammar& grammar);

  /// The next token for these logits [n_vocab]; the state is advanced. kInvalidRequest if the grammar allows nothing or has become so
  /// ambiguous that a token of it takes too long: its states can double with every character.
  Result<Token> sample(const float* logits);

 private:
  explicit Sampler(const Model& model) : model_(model) {}
  using Chain = std::unique_ptr<llama_sampler, decltype(&llama_sampler_free)>;
  Status set_grammar(const Grammar& grammar);
  bool constrains() const { return grammar_ && !trigger_; }
  Status await_trigger(Token token);
  Token greedy(const float* logits) const;
  bool grammar_allows(Token token);
  void candidates_of(const float* logits);
  void keep_top_k();
  Result<Token> pick();
  Result<Token> choose(const float* logits);

  const Model& model_;
  Chain grammar_{nullptr, &llama_sampler_free};
  std::optional<GrammarTrigger> trigger_;      // not found yet: the grammar does not constrain
  Chain chain_{nullptr, &llama_sampler_free};  // top-p, temperature, distribution; empty if greedy
  bool greedy_ = false;
  size_t top_k_ = 0;  // 0: all
  std::vector<llama_token_data> candidates_;
};

}  // namespace inferd::engine
