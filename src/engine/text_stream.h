// From a sequence's pieces of bytes to the text that its client gets: whole UTF-8 characters only, and nothing from the first stop
// string on. Pure; one object a request.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace inferd::engine {

class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stop) : stop_(std::move(stop)) {}

  /// Adds a token's bytes. Appends to `out` what can be sent now. True if a stop string was completed: the text before it is in `out`
  /// and the stream has ended.
  bool push(std::string_view piece, std::string& out);

  /// The end of the answer: appends what was held back, an unfinished character as U+FFFD.
  void finish(std::string& out);

 private:
  std::vector<std::string> stop_;
  std::string held_;  // may begin a stop string or is an unfinished character
};

}  // namespace inferd::engine
