#include "engine/grammar_limits.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>

#include "request/limits.h"

namespace inferd::engine {
namespace {

constexpr uint64_t kMaxRepetitions = 20'000;   // each becomes rules of its own
constexpr size_t kMaxOptionalInARow = 16;      // every subset of them may be left out

std::unexpected<Error> refuse(const std::string& why) { return fail(Code::kInvalidRequest, "grammar: " + why); }

// Walks over the items of all rules: texts, classes, names, groups; and the operators behind them.
class Walk {
 public:
  explicit Walk(const std::string& text) : text_(text) {}

  Status run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == '"' || c == '[') {
        skip_quoted(c == '"' ? '"' : ']');
        if (auto item = end_of_item(); !item) return item;
      } else if (c == '(') {
        if (++depth_ > kMaxGrammarNesting) return refuse("more than " + std::to_string(kMaxGrammarNesting) + " nested groups");
        ++at_;
      } else if (c == ')') {
        if (depth_ > 0) --depth_;
        ++at_;
        if (auto item = end_of_item(); !item) return item;
      } else if (c == '.' || is_name(c)) {
        while (at_ < text_.size() && is_name(text_[at_])) ++at_;
        if (c == '.') ++at_;
        if (auto item = end_of_item(); !item) return item;
      } else {
        if (c == '|' || c == '=') row_ = 0;
        ++at_;
      }
    }
    return {};
  }

 private:
  static bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_'; }

  void skip_quoted(char end) {
    for (++at_; at_ < text_.size() && text_[at_] != end; ++at_) {
      if (text_[at_] == '\\') ++at_;
    }
    at_ = std::min(at_ + 1, text_.size());
  }

  Status end_of_item() {
    bool optional = false;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '?' || c == '*') {
        optional = true;
      } else if (c == '{') {
        bool from_zero = false;
        if (auto counted = repetition(from_zero); !counted) return counted;
        optional = optional || from_zero;
      } else if (c != '+' && c != ' ' && c != '\t') {
        break;
      }
    }
    row_ = optional ? row_ + 1 : 0;
    if (row_ > kMaxOptionalInARow) return refuse("more than " + std::to_string(kMaxOptionalInARow) + " optional items in a row");
    return {};
  }

  // {m}, {m,} or {m,n}; at_ ends on the closing brace.
  Status repetition(bool& from_zero) {
    const size_t close = std::min(text_.find('}', at_), text_.size());
    const std::string body = text_.substr(at_ + 1, close - at_ - 1);
    at_ = close;
    const auto number = [](std::string text, uint64_t otherwise) {
      std::erase_if(text, [](unsigned char c) { return std::isspace(c) != 0; });
      uint64_t value = otherwise;
      const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
      return read.ec == std::errc::result_out_of_range ? UINT64_MAX : value;
    };
    const size_t comma = body.find(',');
    const uint64_t least = number(body.substr(0, comma), 0);
    const uint64_t most = comma == std::string::npos ? least : number(body.substr(comma + 1), least);
    if (most < least) return refuse("repetition {" + body.substr(0, 40) + "} ends before it begins");
    from_zero = least == 0;
    repetitions_ += std::min(most, kMaxRepetitions + 1);
    if (repetitions_ > kMaxRepetitions) return refuse("more than " + std::to_string(kMaxRepetitions) + " repetitions in all");
    return {};
  }

  const std::string& text_;
  size_t at_ = 0, depth_ = 0, row_ = 0;
  uint64_t repetitions_ = 0;
};

}  // namespace

Status check_grammar_limits(const std::string& grammar) {
  if (grammar.size() > kMaxGrammarBytes) {
    return refuse(std::to_string(grammar.size()) + " bytes, at most " + std::to_string(kMaxGrammarBytes) + " are allowed");
  }
  if (grammar.find('\0') != std::string::npos) return refuse("holds a NUL character");
  const auto bars = static_cast<size_t>(std::ranges::count(grammar, '|'));
  if (bars > kMaxGrammarBars) {
    return refuse(std::to_string(bars) + " alternatives (|), at most " + std::to_string(kMaxGrammarBars) + " are allowed");
  }
  return Walk(grammar).run();
}

}  // namespace inferd::engine
