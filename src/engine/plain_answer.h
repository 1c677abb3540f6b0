// An answer that is text alone: v1, and v2 without tools and thinking. Step thread; one object a request.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/answer_stream.h"
#include "engine/text_stream.h"

namespace inferd::engine {

class PlainAnswer : public AnswerStream {
 public:
  explicit PlainAnswer(std::vector<std::string> stop) : text_(std::move(stop)) {}

  bool push(std::string_view bytes, std::vector<Piece>& out) override;
  /// Never an error.
  Status finish(bool ended, std::vector<Piece>& out) override;

 private:
  TextStream text_;
};

}  // namespace inferd::engine
