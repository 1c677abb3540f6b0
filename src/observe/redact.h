// Takes secrets out of log lines before they are written: the ten rules of spec 06 §7.4, in order. RE2, so linear on hostile
// input. One object a thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace re2 {
class RE2;
}

namespace inferd {

class Redactor {
 public:
  Redactor();
  ~Redactor();

  /// Replaces each match by its marker, entirely. True if anything was replaced.
  bool redact(std::string& line) const;

 private:
  struct Rule {
    std::unique_ptr<re2::RE2> pattern;
    const char* marker;
  };
  std::vector<Rule> rules_;
  std::unique_ptr<re2::RE2> any_;  // all rules at once: most lines match none and are read once
};

}  // namespace inferd
