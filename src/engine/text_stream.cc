#include "engine/text_stream.h"

#include <algorithm>

#include "base/utf8.h"

namespace inferd::engine {

bool TextStream::push(std::string_view piece, std::string& out) {
  held_ += piece;
  size_t first = std::string::npos;
  for (const std::string& text : stop_) first = std::min(first, held_.find(text));
  if (first != std::string::npos) {
    out += to_valid_utf8(std::string_view(held_).substr(0, first));
    held_.clear();
    return true;
  }
  // Keep the longest end that could be the beginning of a stop string.
  size_t keep = incomplete_utf8_suffix(held_);
  for (const std::string& text : stop_) {
    for (size_t length = std::min(text.size() - 1, held_.size()); length > keep; --length) {
      if (std::string_view(held_).substr(held_.size() - length) == std::string_view(text).substr(0, length)) keep = length;
    }
  }
  // Where that end begins inside a character, the whole character stays.
  size_t send = held_.size() - keep;
  send -= incomplete_utf8_suffix(std::string_view(held_).substr(0, send));
  out += to_valid_utf8(std::string_view(held_).substr(0, send));
  held_.erase(0, send);
  return false;
}

void TextStream::finish(std::string& out) {
  out += to_valid_utf8(held_);
  held_.clear();
}

}  // namespace inferd::engine
