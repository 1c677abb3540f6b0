#include "engine/plain_answer.h"

namespace inferd::engine {

bool PlainAnswer::push(std::string_view bytes, std::vector<Piece>& out) {
  std::string text;
  const bool stopped = text_.push(bytes, text);
  add_text(out, Piece::Kind::kText, text);
  return stopped;
}

Status PlainAnswer::finish(bool, std::vector<Piece>& out) {
  std::string text;
  text_.finish(text);
  add_text(out, Piece::Kind::kText, text);
  return {};
}

}  // namespace inferd::engine
