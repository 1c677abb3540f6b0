#include "base/base64.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace inferd {
namespace {

// RFC 4648 §10
constexpr std::pair<const char*, const char*> kVectors[] = {
    {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
};

std::string decoded(std::string_view text) {
  std::vector<unsigned char> bytes;
  EXPECT_TRUE(decode_base64(text, bytes)) << text;
  return {bytes.begin(), bytes.end()};
}

bool is_refused(std::string_view text) {
  std::vector<unsigned char> bytes = {1, 2, 3};
  return !decode_base64(text, bytes) && bytes.empty();
}

TEST(Base64, ThePublishedVectors) {
  for (const auto& [bytes, text] : kVectors) {
    EXPECT_EQ(encode_base64(bytes), text);
    EXPECT_EQ(decoded(text), bytes);
  }
}

TEST(Base64, EveryLengthAndByteComesBack) {
  std::mt19937 random(4648);
  std::string bytes;
  for (size_t length = 0; length < 200; ++length) {
    const std::string text = encode_base64(bytes);
    EXPECT_EQ(text.size(), (length + 2) / 3 * 4);
    EXPECT_EQ(decoded(text), bytes);
    bytes += static_cast<char>(random());
  }
  bytes.clear();
  for (int i = 0; i < 256 * 100; ++i) bytes += static_cast<char>(i % 256);  // more than one block of groups
  EXPECT_EQ(decoded(encode_base64(bytes)), bytes);
  EXPECT_EQ(decoded("++//"), "\xFB\xEF\xFF");
}

TEST(Base64, FormerContentIsGone) {
  std::vector<unsigned char> bytes(100, 7);
  ASSERT_TRUE(decode_base64("Zg==", bytes));
  EXPECT_EQ(bytes, std::vector<unsigned char>{'f'});
  ASSERT_TRUE(decode_base64("", bytes));
  EXPECT_TRUE(bytes.empty());
}

TEST(Base64, PaddingIsMandatoryAndAtTheEnd) {
  for (const char* text : {"Z", "Zg", "Zg=", "Zm8", "=", "==", "===", "====", "Z===", "Zg==Zg==", "Zg==Zm9v", "=Zm9", "Z=m9", "Zm=v", "Zm9vZg",
                           "Zm9v="}) {
    EXPECT_TRUE(is_refused(text)) << text;
  }
}

TEST(Base64, UnusedBitsAreZero) {
  for (const char* text : {"Zh==", "Zv==", "Z/==", "Zm9=", "Zm+=", "Zm9vZh=="}) EXPECT_TRUE(is_refused(text)) << text;
}

TEST(Base64, NothingButTheAlphabetAtAnyPlace) {
  const std::string good = encode_base64(std::string(6'000, 'x'));
  for (const size_t at : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{17}, size_t{4'097}, good.size() - 5, good.size() - 4, good.size() - 1}) {
    for (const char c : {' ', '\n', '-', '_', '=', '.', '@', '[', '`', '{', '\0', '\x7F', '\x80', '\xFF'}) {
      std::string text = good;
      text[at] = c;
      // = as the last character is padding, before which the unused bits are not zero.
      EXPECT_TRUE(is_refused(text)) << at << " " << static_cast<int>(c);
    }
  }
  EXPECT_TRUE(is_refused("Zm9v\nZm9"));
}

}  // namespace
}  // namespace inferd
