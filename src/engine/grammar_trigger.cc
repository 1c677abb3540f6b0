#include "engine/grammar_trigger.h"

#include <algorithm>
#include <utility>

namespace inferd::engine {
namespace {

constexpr size_t kPatternWindow = 256;

std::string escaped(std::string_view word) {
  std::string out;
  for (const char c : word) {
    if (std::string_view(R"(.^$|()*+?[]{}\)").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

size_t find_first(std::string_view text, const std::vector<std::string>& words, size_t from) {
  size_t first = std::string_view::npos;
  for (const std::string& word : words) first = std::min(first, text.find(word, from));
  return first;
}

}  // namespace

std::vector<std::string> GrammarTrigger::patterns_of(const Grammar::Triggers& triggers) {
  std::vector<std::string> patterns;
  for (const std::string& word : triggers.words) patterns.push_back(escaped(word));
  patterns.insert(patterns.end(), triggers.patterns.begin(), triggers.patterns.end());
  return patterns;
}

GrammarTrigger::GrammarTrigger(Grammar::Triggers triggers) : triggers_(std::move(triggers)), thinking_(triggers_.thinking) {
  for (const std::string& pattern : triggers_.patterns) patterns_.emplace_back(pattern);
  window_ = patterns_.empty() ? 0 : kPatternWindow;
  for (const auto* words : {&triggers_.words, &triggers_.thinking_close}) {
    for (const std::string& word : *words) window_ = std::max(window_, word.size());
  }
  window_ = std::max(window_, triggers_.thinking_open.size());
}

std::vector<Token> GrammarTrigger::push(Token token, std::string_view piece) {
  text_ += piece;
  tokens_.push_back({token, begin_ + text_.size()});
  for (;;) {
    if (thinking_) {
      const size_t close = find_first(text_, triggers_.thinking_close, searched_);
      if (close == std::string::npos) break;
      thinking_ = false;
      searched_ = close;  // what closes may be a trigger itself
    }
    const auto trigger = find_trigger();
    const size_t open = triggers_.thinking_open.empty() ? std::string::npos : text_.find(triggers_.thinking_open, searched_);
    if (open != std::string::npos && open < trigger.value_or(open + 1)) {
      thinking_ = true;
      searched_ = open + triggers_.thinking_open.size();
      continue;
    }
    if (!trigger) break;
    std::vector<Token> found;
    for (const Held& held : tokens_) {
      if (held.end > begin_ + *trigger) found.push_back(held.token);
    }
    return found;
  }
  forget_old();
  return {};
}

std::optional<size_t> GrammarTrigger::find_trigger() const {
  size_t first = find_first(text_, triggers_.words, searched_);
  for (const std::regex& pattern : patterns_) {
    // `^` is the beginning of the answer. The match as a whole counts, also what stands before its first group: llama.cpp looks again.
    const auto flags = begin_ + searched_ == 0 ? std::regex_constants::match_default : std::regex_constants::match_not_bol;
    std::smatch match;
    if (std::regex_search(text_.begin() + static_cast<ptrdiff_t>(searched_), text_.end(), match, pattern, flags)) {
      first = std::min(first, searched_ + static_cast<size_t>(match.position(0)));
    }
  }
  return first == std::string::npos ? std::nullopt : std::optional(first);
}

void GrammarTrigger::forget_old() {
  searched_ = std::max(searched_, text_.size() - std::min(text_.size(), window_));
  text_.erase(0, searched_);
  begin_ += std::exchange(searched_, 0);
  while (!tokens_.empty() && tokens_.front().end <= begin_) tokens_.pop_front();
}

}  // namespace inferd::engine
