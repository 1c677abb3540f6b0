#include "engine/schema_pattern.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace inferd::engine {
namespace {

constexpr size_t kMaxBytes = 1'024;
constexpr int kMaxNesting = 16;
constexpr uint64_t kMaxRepetitions = 1'000;  // llama.cpp's grammar parser takes 2,000 for one group, with all that is in it
constexpr size_t kMaxOptionalInARow = 8;
constexpr const char* kRepetitionForms = "a repetition that is not {m}, {m,} or {m,n}";

// The text between ^ and $. The converter copies it into a grammar of JSON text, so a character that JSON escapes must not come out of it.
class Walk {
 public:
  explicit Walk(std::string_view text) : text_(text) {}

  std::string fault() {
    bool may_be_empty = false;
    if (alternatives(0, may_be_empty) && at_ < text_.size()) refuse("\")\" without \"(\"");
    return why_;
  }

 private:
  struct Atom {
    bool may_be_empty = false;
    bool literal = false;  // a single character, not a class
    bool escaped = false;
    bool wide = false;     // outside ASCII
  };

  bool refuse(std::string why) {
    why_ = std::move(why);
    return false;
  }
  bool is(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool at_repetition() const { return is('*') || is('+') || is('?') || is('{'); }

  // a|b|c, up to ")" or the end.
  bool alternatives(int depth, bool& may_be_empty) {
    for (;;) {
      bool one_may_be_empty = true;
      if (!sequence(depth, one_may_be_empty)) return false;
      may_be_empty = may_be_empty || one_may_be_empty;
      if (!is('|')) return true;
      if (depth == 0) return refuse("\"|\" outside parentheses is not anchored on both sides");
      ++at_;
    }
  }

  bool sequence(int depth, bool& may_be_empty) {
    const size_t begin = at_;
    bool behind_text = false;  // a character that is not repeated stands before
    size_t optional_row = 0;
    while (at_ < text_.size() && !is('|') && !is(')')) {
      Atom atom;
      if (!read_atom(depth, atom)) return false;
      bool optional = atom.may_be_empty;
      const bool repeated = at_repetition();
      if (repeated) {
        if (atom.may_be_empty) return refuse("a repetition of what may be empty");
        // The converter works on bytes, and joins an escaped character with the text before it: it would repeat too little or too much.
        if (atom.wide) return refuse("a repetition of a character outside ASCII: put it in parentheses");
        if (atom.escaped && behind_text) return refuse("a repetition of an escaped character behind other text: put it in parentheses");
        if (!repetition(optional)) return false;
      }
      behind_text = atom.literal && !repeated;
      optional_row = optional ? optional_row + 1 : 0;
      if (optional_row > kMaxOptionalInARow) return refuse("more than " + std::to_string(kMaxOptionalInARow) + " optional parts in a row");
      may_be_empty = may_be_empty && optional;
    }
    return at_ > begin || refuse("an empty alternative");
  }

  bool read_atom(int depth, Atom& atom) {
    const char c = text_[at_];
    switch (c) {
      case '(': return group(depth, atom.may_be_empty);
      case '[': return character_class();
      case '.': ++at_; return true;
      case '^': case '$': return refuse("an anchor inside");
      case '*': case '+': case '?': case '{': return refuse(std::string("nothing before \"") + c + "\"");
      case ']': case '}': return refuse(std::string("\"") + c + "\" without its beginning");
      default: break;
    }
    atom.literal = true;
    atom.escaped = c == '\\';
    uint32_t value = 0;
    if (atom.escaped) {
      if (!escape("^$.[]()|{}*+?-", value)) return false;
    } else {
      value = character();
      atom.wide = value > 0x7F;
    }
    return writable(value, value);
  }

  bool group(int depth, bool& may_be_empty) {
    if (depth >= kMaxNesting) return refuse("more than " + std::to_string(kMaxNesting) + " nested groups");
    ++at_;
    if (is('?')) {
      if (text_.substr(at_, 2) != "?:") return refuse("\"(?\": look-around, named groups and flags are not supported");
      at_ += 2;
    }
    if (!alternatives(depth + 1, may_be_empty)) return false;
    if (!is(')')) return refuse("\"(\" without \")\"");
    ++at_;
    return true;
  }

  bool character_class() {
    ++at_;
    if (is('^')) return refuse("a negated class (it would let quotes and backslashes into the JSON text)");
    if (is(']')) return refuse("an empty class");
    while (at_ < text_.size() && !is(']')) {
      uint32_t low = 0;
      if (!class_member(low)) return false;
      uint32_t high = low;
      if (is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        if (!class_member(high)) return false;
      }
      if (high < low) return refuse("a range that ends before it begins");
      if (!writable(low, high)) return false;
    }
    if (at_ == text_.size()) return refuse("\"[\" without \"]\"");
    ++at_;
    return true;
  }

  bool class_member(uint32_t& value) {
    if (is('\\')) return escape("[]-", value);
    if (is('[')) return refuse("\"[\" in a class: write \\[");
    value = character();
    return true;
  }

  // A backslash and what follows; `plain`: the characters that stand for themselves behind it.
  bool escape(std::string_view plain, uint32_t& value) {
    if (at_ + 1 == text_.size()) return refuse("a backslash at the end");
    const char c = text_[at_ + 1];
    at_ += 2;
    if (plain.find(c) != std::string_view::npos) {
      value = static_cast<unsigned char>(c);
      return true;
    }
    if (c != 'x' && c != 'u') {
      std::string why = std::string("the escape \\") + (c > 0x20 && c < 0x7F ? std::string(1, c) : "") + " is not supported";
      if (c == 'd') why += ": write [0-9]";
      if (c == 'w') why += ": write [A-Za-z0-9_]";
      if (c == '/' || c == '.') why += std::string(": write ") + c + " alone";
      return refuse(std::move(why));
    }
    const size_t digits = c == 'x' ? 2 : 4;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char digit = at_ < text_.size() ? text_[at_] : ' ';
      if (digit >= '0' && digit <= '9') {
        value = value * 16 + static_cast<uint32_t>(digit - '0');
      } else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f') {
        value = value * 16 + static_cast<uint32_t>((digit | 0x20) - 'a') + 10;
      } else {
        return refuse(std::string("\\") + c + " needs " + std::to_string(digits) + " hexadecimal digits");
      }
    }
    return (value < 0xD800 || value > 0xDFFF) || refuse("half of a surrogate pair");
  }

  // One character of well-formed UTF-8.
  uint32_t character() {
    const auto lead = static_cast<unsigned char>(text_[at_++]);
    if (lead < 0x80) return lead;
    uint32_t value = lead & (lead < 0xE0 ? 0x1Fu : lead < 0xF0 ? 0x0Fu : 0x07u);
    while (at_ < text_.size() && (static_cast<unsigned char>(text_[at_]) & 0xC0) == 0x80) {
      value = value << 6 | (static_cast<unsigned char>(text_[at_++]) & 0x3Fu);
    }
    return value;
  }

  // Whether no character from `low` to `high` is escaped in JSON.
  bool writable(uint32_t low, uint32_t high) {
    if (low < 0x20) return refuse("a control character");
    const auto holds = [&](char c) { return low <= static_cast<uint32_t>(c) && static_cast<uint32_t>(c) <= high; };
    return (!holds('"') && !holds('\\')) || refuse("a quote or a backslash as a character or inside a range (JSON escapes these)");
  }

  // * + ? {m} {m,} {m,n}
  bool repetition(bool& optional) {
    uint64_t least = is('+') ? 1 : 0, most = is('?') ? 1 : 0;
    if (is('{')) {
      ++at_;
      if (!number(least)) return false;
      most = least;
      bool bounded = true;
      if (is(',')) {
        ++at_;
        bounded = !is('}');
        if (bounded && !number(most)) return false;
      }
      if (!is('}')) return refuse(kRepetitionForms);
      if (bounded && (most == 0 || most < least)) return refuse("a repetition that ends before it begins, or none");
    }
    ++at_;
    if (at_repetition()) return refuse("lazy, possessive and double repetitions are not supported");
    repetitions_ += std::max(least, most);
    if (repetitions_ > kMaxRepetitions) return refuse("more than " + std::to_string(kMaxRepetitions) + " repetitions in all");
    optional = least == 0;
    return true;
  }

  bool number(uint64_t& value) {
    const size_t begin = at_;
    for (value = 0; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = std::min<uint64_t>(value * 10 + static_cast<uint64_t>(text_[at_] - '0'), kMaxRepetitions + 1);
    }
    return at_ > begin || refuse(kRepetitionForms);
  }

  std::string_view text_;
  size_t at_ = 0;
  uint64_t repetitions_ = 0;
  std::string why_;
};

bool is_anchored(std::string_view pattern) {
  if (pattern.size() < 2 || !pattern.starts_with('^') || !pattern.ends_with('$')) return false;
  const std::string_view before = pattern.substr(0, pattern.size() - 1);
  const size_t other = before.find_last_not_of('\\');  // there is one: ^
  return (before.size() - 1 - other) % 2 == 0;         // else the $ is escaped
}

}  // namespace

std::string pattern_fault(std::string_view pattern) {
  if (pattern.size() > kMaxBytes) return std::to_string(pattern.size()) + " bytes, at most " + std::to_string(kMaxBytes) + " are allowed";
  if (!is_anchored(pattern)) return "it has to begin with ^ and end with $";
  return Walk(pattern.substr(1, pattern.size() - 2)).fault();
}

}  // namespace inferd::engine
