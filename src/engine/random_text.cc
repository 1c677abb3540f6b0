#include "engine/random_text.h"

#include <sys/random.h>

#include <string_view>

namespace inferd::engine {

std::string random_text(size_t length) {
  static constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  static constexpr unsigned kFair = 256 / kLetters.size() * kLetters.size();  // a byte from here on would favour the first letters
  std::string text;
  while (text.size() < length) {
    unsigned char bytes[32] = {};
    const ssize_t n = ::getrandom(bytes, sizeof bytes, 0);
    for (ssize_t i = 0; i < n && text.size() < length; ++i) {
      if (bytes[i] < kFair) text += kLetters[bytes[i] % kLetters.size()];
    }
  }
  return text;
}

}  // namespace inferd::engine
