// What the tests of the codecs share: the golden files, texts that hurt writers, damaged frames. For tests alone.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>

namespace inferd::wire {

inline const std::string kEscapedId = "\"\\/\x7f";
inline const std::string kEscapedText = std::string("\b\f\n\r\t\0\x01\x1f", 8) + " ü☃𝄞 </script>";

/// The files of tests/golden/<name>: one frame each, with its LF.
class GoldenFolder {
 public:
  explicit GoldenFolder(std::string_view name)
      : path_(std::filesystem::path(__FILE__).parent_path() / "../../tests/golden" / name) {}

  std::string read(const std::string& name) const {
    std::ifstream file(path_ / (name + ".json"), std::ios::binary);
    EXPECT_TRUE(file) << path_ / name;
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void expect_one_line_each_and(const std::set<std::string>& tested) const {
    std::set<std::string> there;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      there.insert(entry.path().stem());
      const std::string bytes = read(entry.path().stem());
      EXPECT_EQ(bytes.find('\n') + 1, bytes.size()) << entry.path();
    }
    EXPECT_EQ(there, tested);
  }

 private:
  std::filesystem::path path_;
};

inline std::string line_of(std::string frame) {
  EXPECT_TRUE(frame.ends_with('\n'));
  frame.pop_back();
  return frame;
}

inline std::string random_text(std::mt19937& random) {
  static const std::array<std::string, 10> kPieces = {"a", "\"", "\\", "\n", std::string(1, '\0'), "\x1f", "é", "☃", "𝄞", "</s>"};
  std::string text;
  for (size_t left = random() % 12; left > 0; --left) text += kPieces[random() % kPieces.size()];
  return text;
}

/// Damages a frame in a few places: single bits, cuts, repeated parts, and pieces of JSON that hurt decoders.
inline std::string mutated(std::string text, std::mt19937& random, std::span<const std::string_view> pieces) {
  const auto random_below = [&](size_t bound) { return static_cast<size_t>(random()) % bound; };
  for (size_t left = 1 + random_below(3); left > 0; --left) {
    const size_t at = random_below(text.size() + 1);
    const size_t length = std::min(random_below(10), text.size() - at);
    const std::string_view piece = pieces[random_below(pieces.size())];
    switch (random_below(5)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << random_below(8)));
        break;
      case 1: text.erase(at, length); break;
      case 2: text.insert(random_below(text.size() + 1), text.substr(at, length)); break;
      case 3: text.insert(at, piece); break;
      default: text.replace(at, length, piece);
    }
  }
  return text;
}

}  // namespace inferd::wire
