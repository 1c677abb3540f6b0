#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <exception>
#include <limits>
#include <stdexcept>

#include "engine/grammar_limits.h"

namespace inferd::engine {
namespace {

// CPU time, so that a busy machine is not taken for a bad grammar. Usual grammars take microseconds to accept a token.
constexpr double kMostAcceptSeconds = 0.01;
constexpr double kMostChoiceSeconds = 2;

double thread_cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

}  // namespace

Result<std::unique_ptr<Sampler>> Sampler::create(const Model& model, const Sampling& sampling, const Grammar& grammar) {
  std::unique_ptr<Sampler> sampler(new Sampler(model));
  if (!grammar.gbnf.empty()) {
    if (auto set = sampler->set_grammar(grammar); !set) return std::unexpected(set.error());
  }
  const double temperature = sampling.temperature.value_or(kDefaultTemperature);
  sampler->greedy_ = temperature <= 0;
  if (sampler->greedy_) return sampler;
  const uint32_t top_k = sampling.top_k.value_or(kDefaultTopK);
  sampler->top_k_ = top_k < static_cast<uint32_t>(model.n_vocab()) ? top_k : 0;
  sampler->chain_.reset(llama_sampler_chain_init({.no_perf = true}));
  if (const double top_p = sampling.top_p.value_or(kDefaultTopP); top_p < 1) {
    llama_sampler_chain_add(sampler->chain_.get(), llama_sampler_init_top_p(static_cast<float>(std::max(0.0, top_p)), 1));
  }
  llama_sampler_chain_add(sampler->chain_.get(), llama_sampler_init_temp(static_cast<float>(temperature)));
  uint32_t seed = sampling.seed ? *sampling.seed : std::random_device{}();
  if (seed == LLAMA_DEFAULT_SEED) --seed;  // llama.cpp takes this number for "random"
  llama_sampler_chain_add(sampler->chain_.get(), llama_sampler_init_dist(seed));
  return sampler;
}

Status Sampler::set_grammar(const Grammar& grammar) {
  if (grammar.from_caller) {
    if (auto within = check_grammar_limits(grammar.gbnf); !within) return within;
  } else if (grammar.gbnf.size() > kMaxGeneratedGrammarBytes) {
    return fail(Code::kInvalidRequest, "the grammar of these tools has " + std::to_string(grammar.gbnf.size()) + " bytes, at most " +
                                           std::to_string(kMaxGeneratedGrammarBytes) + " are allowed");
  }
  // The beginning that the prompt has already is a trigger too: it may end inside of a token, and lazy grammars can take a part of one.
  std::vector<std::string> patterns = GrammarTrigger::patterns_of(grammar.triggers);
  if (!grammar.begun.empty()) {
    patterns = GrammarTrigger::patterns_of({.words = {grammar.begun}});
  }
  std::vector<const char*> pattern_texts;
  for (const std::string& pattern : patterns) pattern_texts.push_back(pattern.c_str());
  try {
    if (patterns.empty()) {
      grammar_.reset(llama_sampler_init_grammar(model_.vocab(), grammar.gbnf.c_str(), "root"));
    } else {
      grammar_.reset(llama_sampler_init_grammar_lazy_patterns(model_.vocab(), grammar.gbnf.c_str(), "root", pattern_texts.data(),
                                                              pattern_texts.size(), nullptr, 0));
    }
    if (grammar.begun.empty() && !grammar.triggers.empty()) trigger_.emplace(grammar.triggers);
  } catch (const std::exception& error) {
    return fail(Code::kInvalidRequest, std::string("grammar: ") + error.what());
  }
  if (!grammar_) return fail(Code::kInvalidRequest, "grammar: cannot be parsed (GBNF with a rule `root`, no left recursion)");
  std::string begun;
  for (const Token token : grammar.begun_tokens) model_.append_piece(token, begun);
  try {
    if (!begun.ends_with(grammar.begun)) throw std::runtime_error("other tokens");
    for (const Token token : grammar.begun_tokens) llama_sampler_accept(grammar_.get(), token);
  } catch (const std::exception&) {
    return fail(Code::kInternal, "the grammar for this model's answers does not go on where its chat template ends");
  }
  return {};
}

// The first of the largest. In lanes, so that the compiler uses vector instructions: this runs between two steps of all streams.
Token Sampler::greedy(const float* logits) const {
  constexpr size_t kLanes = 32;
  const auto n = static_cast<size_t>(model_.n_vocab());
  std::array<float, kLanes> best;
  best.fill(-std::numeric_limits<float>::infinity());
  size_t at = 0;
  for (; at + kLanes <= n; at += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) best[lane] = logits[at + lane] > best[lane] ? logits[at + lane] : best[lane];
  }
  float largest = *std::ranges::max_element(best);
  for (; at < n; ++at) largest = std::max(largest, logits[at]);
  const float* found = std::find(logits, logits + n, largest);
  return static_cast<Token>(found == logits + n ? 0 : found - logits);  // not found: no logit is a number
}

bool Sampler::grammar_allows(Token token) {
  llama_token_data one{token, 1.0F, 0.0F};
  llama_token_data_array array{&one, 1, -1, false};
  llama_sampler_apply(grammar_.get(), &array);
  return std::isfinite(one.logit);
}

void Sampler::candidates_of(const float* logits) {
  candidates_.resize(static_cast<size_t>(model_.n_vocab()));
  for (size_t i = 0; i < candidates_.size(); ++i) candidates_[i] = {static_cast<Token>(i), logits[i], 0.0F};
}

// The k best, sorted. One pass against the worst of the best: few tokens pass, so this is far cheaper than a partial sort of all.
void Sampler::keep_top_k() {
  const auto better = [](const llama_token_data& a, const llama_token_data& b) { return a.logit > b.logit; };
  const auto heap_end = candidates_.begin() + static_cast<ptrdiff_t>(top_k_);
  std::make_heap(candidates_.begin(), heap_end, better);
  for (auto at = heap_end; at != candidates_.end(); ++at) {
    if (at->logit <= candidates_.front().logit) continue;
    std::pop_heap(candidates_.begin(), heap_end, better);
    *(heap_end - 1) = *at;
    std::push_heap(candidates_.begin(), heap_end, better);
  }
  std::sort_heap(candidates_.begin(), heap_end, better);
  candidates_.resize(top_k_);
}

Result<Token> Sampler::pick() {
  std::erase_if(candidates_, [](const llama_token_data& candidate) { return !std::isfinite(candidate.logit); });
  if (candidates_.empty()) return fail(Code::kInvalidRequest, "grammar: no token of this model can follow");
  if (greedy_) {
    return std::ranges::max_element(candidates_, {}, &llama_token_data::logit)->id;
  }
  const bool reduce = top_k_ > 0 && top_k_ < candidates_.size();
  if (reduce) keep_top_k();
  llama_token_data_array array{candidates_.data(), candidates_.size(), -1, reduce};
  llama_sampler_apply(chain_.get(), &array);
  if (array.selected < 0 || static_cast<size_t>(array.selected) >= array.size) return fail(Code::kInternal, "the sampler chose nothing");
  return array.data[array.selected].id;
}

Result<Token> Sampler::sample(const float* logits) {
  if (!constrains()) {
    auto token = choose(logits);
    if (token && trigger_) {
      if (auto awaited = await_trigger(*token); !awaited) return std::unexpected(awaited.error());
    }
    return token;
  }
  const auto begin = thread_cpu_seconds();
  auto token = choose(logits);
  const auto chosen = thread_cpu_seconds();
  if (!token) return token;
  try {
    llama_sampler_accept(grammar_.get(), *token);
  } catch (const std::exception& error) {
    return fail(Code::kInternal, std::string("grammar: ") + error.what());
  }
  const auto accepted = thread_cpu_seconds();
  if (chosen - begin > kMostChoiceSeconds || accepted - chosen > kMostAcceptSeconds) {
    return fail(Code::kInvalidRequest, "grammar: too ambiguous (one token of it took too long)");
  }
  return token;
}

Status Sampler::await_trigger(Token token) {
  if (llama_vocab_is_eog(model_.vocab(), token)) return {};
  std::string piece;
  model_.append_piece(token, piece);
  try {
    const auto tokens = trigger_->push(token, piece);
    if (tokens.empty()) return {};
    trigger_.reset();
    for (const Token found : tokens) llama_sampler_accept(grammar_.get(), found);
  } catch (const std::exception&) {
    // The token goes on behind the trigger as the grammar does not: it stays text that merely looks like the beginning of a call.
    trigger_.reset();
    grammar_.reset();
  }
  return {};
}

Result<Token> Sampler::choose(const float* logits) {
  try {
    Result<Token> token = greedy_ ? Result<Token>(greedy(logits)) : Result<Token>(LLAMA_TOKEN_NULL);
    if (!greedy_ && !constrains()) {
      candidates_of(logits);
      token = pick();
    } else if (!greedy_ || (constrains() && !grammar_allows(*token))) {
      candidates_of(logits);
      llama_token_data_array array{candidates_.data(), candidates_.size(), -1, false};
      llama_sampler_apply(grammar_.get(), &array);
      token = pick();
    }
    return token;
  } catch (const std::exception& error) {
    return fail(Code::kInternal, std::string("sampling failed: ") + error.what());
  }
}

}  // namespace inferd::engine
