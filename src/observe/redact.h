// Takes secrets out of log lines before they are written: the ten rules of spec 06 §7.4, in order. RE2, so linear on hostile
// input.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace re2 {
class RE2;
}

namespace inferd {

class Redactor {
 public:
  Redactor();
  ~Redactor();

  /// Replaces each match by its marker, entirely. True if anything was replaced. Thread-safe.
  bool redact(std::string& text) const;

  /// False if `text` holds nothing to replace, which is cheap to learn for the short texts that most fields are.
  bool matches(std::string_view text) const;

 private:
  struct Rule {
    std::unique_ptr<re2::RE2> pattern;
    const char* marker;
  };
  std::vector<Rule> rules_;
  std::unique_ptr<re2::RE2> any_;  // all rules at once: most lines match none and are read once
};

}  // namespace inferd
