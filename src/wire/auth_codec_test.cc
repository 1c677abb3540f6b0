// The auth frame (spec 05 §6): the first line of a TCP connection with a key. Comparing keys is session/access.
#include "wire/auth_codec.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/utf8.h"

namespace inferd::wire {
namespace {

// D26
TEST(AuthCodec, AnAuthFrameGivesItsKey) {
  EXPECT_EQ(decode_auth(R"({"type":"auth","key":"secret"})"), "secret");
  EXPECT_EQ(decode_auth(R"({"type":"auth","key":""})"), "");
  EXPECT_EQ(decode_auth(R"({"type":"auth","key":"\u0061\n\u00e9 \ud834\udd1e\u0000x"})"), "a\né 𝄞" + std::string("\0x", 2));
}

// Spec 05 §6: "extra fields ignored; any key order"; 01 §2.1: white space and CR
TEST(AuthCodec, KeyOrderExtraFieldsAndWhiteSpaceDoNotMatter) {
  EXPECT_EQ(decode_auth(R"({"key":"k","type":"auth"})"), "k");
  EXPECT_EQ(decode_auth(R"({"id":5,"type":"auth","x":{"key":"other"},"key":"k","y":[]})"), "k");
  EXPECT_EQ(decode_auth(" { \"type\" : \"auth\" ,\t\"key\" : \"k\" } \r"), "k");
}

// D26: "other type or garbage → none"; 01 §2.3 for the rest
TEST(AuthCodec, AnythingElseGivesNothing) {
  for (const char* line : {
           "", "\r", "garbage", "secret", "{}", "[]", "null", R"("auth")", R"(["auth","k"])", R"({"type":"auth"})", R"({"key":"k"})",
           R"({"type":"Auth","key":"k"})", R"({"type":"auth ","key":"k"})", R"({"type":"","key":"k"})", R"({"type":"token","key":"k"})",
           R"({"type":null,"key":"k"})", R"({"Type":"auth","key":"k"})", R"({"type":"auth","Key":"k"})", R"({"type":"auth","key":null})",
           R"({"type":"auth","key":5})", R"({"type":"auth","key":["k"]})", R"({"type":"auth","key":"k","key":"k"})",
           R"({"type":"auth","type":"auth","key":"k"})", R"({"type":"auth","key":"k")", R"({"type":"auth","key":"k"}x)",
           R"({"type":"auth","key":"k"}{"type":"auth","key":"k"})", "\xEF\xBB\xBF{\"type\":\"auth\",\"key\":\"k\"}",
           "{\"type\":\"auth\",\"key\":\"\xFF\"}", "{\"type\":\"auth\",\"key\":\"\n\"}", R"({"type":"auth","key":"\ud800"})",
           R"({"messages":[{"role":"user","content":"hi"}]})"}) {
    EXPECT_EQ(decode_auth(line), std::nullopt) << line;
  }
}

TEST(AuthCodec, IsWrittenWithTypeFirstAndReadBack) {
  std::string out = "before\n";
  append_auth(out, "se\"cret\\\n");
  EXPECT_EQ(out, "before\n" R"({"type":"auth","key":"se\"cret\\\n"})" "\n");
  for (const std::string& key : std::vector<std::string>{"", "k", std::string(4000, 'k'), std::string("a\0b", 3), "é☃𝄞"}) {
    std::string line;
    append_auth(line, key);
    EXPECT_EQ(line.find('\n') + 1, line.size());
    line.pop_back();
    EXPECT_EQ(decode_auth(line), key);
  }
}

TEST(AuthCodec, DamagedFramesNeverGiveMoreThanAText) {
  std::mt19937 random(1);
  int read = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string line = R"({"type":"auth","key":"se\u00e9cret"})";
    for (size_t left = 1 + random() % 2; left > 0; --left) {
      const size_t at = random() % line.size();
      line[at] = static_cast<char>(line[at] ^ (1 << random() % 8));
    }
    if (i % 3 == 0) line.resize(random() % line.size());
    const auto key = decode_auth(line);
    if (!key) continue;
    ++read;
    EXPECT_TRUE(is_valid_utf8(*key)) << line;
    EXPECT_NE(line.find("auth"), std::string::npos) << line;
  }
  EXPECT_GT(read, 100);
}

}  // namespace
}  // namespace inferd::wire
