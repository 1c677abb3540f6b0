// JsonDocument against RFC 8259 and spec 01 §2.3, also by comparison with a second, independent reader.
#include "wire/json_document.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <random>
#include <vector>

#include "base/utf8.h"

namespace inferd::wire {
namespace {

using Type = JsonValue::Type;

bool parses(std::string_view text) { return JsonDocument().parse(text).has_value(); }

std::string error_of(std::string_view text) {
  const auto parsed = JsonDocument().parse(text);
  EXPECT_FALSE(parsed) << text.substr(0, 200);
  if (parsed) return "";
  EXPECT_EQ(parsed.error().code, Code::kInvalidRequest);
  return parsed.error().message;
}

std::vector<JsonValue> children(JsonValue value) {
  std::vector<JsonValue> found;
  for (const JsonValue child : value) found.push_back(child);
  return found;
}

TEST(JsonDocument, EveryTypeIsReadWithItsValue) {
  JsonDocument document;
  ASSERT_TRUE(document.parse(R"([null,true,false,0,-7,18446744073709551615,1.5,"text","",[],{}])"));
  EXPECT_EQ(document.root().type(), Type::kArray);
  EXPECT_EQ(document.root().size(), 11u);
  const auto values = children(document.root());
  ASSERT_EQ(values.size(), 11u);
  EXPECT_TRUE(values[0].is_null());
  EXPECT_EQ(values[1].type(), Type::kBool);
  EXPECT_TRUE(values[1].boolean());
  EXPECT_FALSE(values[2].boolean());
  EXPECT_EQ(values[3].number(), 0);
  EXPECT_EQ(values[4].number(), -7);
  EXPECT_EQ(values[5].number(), 18446744073709551615.0);
  EXPECT_EQ(values[6].type(), Type::kDouble);
  EXPECT_EQ(values[6].number(), 1.5);
  EXPECT_EQ(values[7].text(), "text");
  EXPECT_EQ(values[8].text(), "");
  EXPECT_EQ(values[9].type(), Type::kArray);
  EXPECT_EQ(values[9].size(), 0u);
  EXPECT_TRUE(children(values[9]).empty());
  EXPECT_EQ(values[10].type(), Type::kObject);
  EXPECT_TRUE(children(values[10]).empty());
}

TEST(JsonDocument, AScalarAloneIsADocumentAndHasNoChildren) {
  for (const char* text : {"null", "true", "5", "-1.5", "\"x\"", " \t\r\n7 \n"}) {
    JsonDocument document;
    ASSERT_TRUE(document.parse(text)) << text;
    EXPECT_TRUE(children(document.root()).empty()) << text;
  }
}

TEST(JsonDocument, MembersComeInOrderWithTheirKeysAndNothingOfTheirNeighbours) {
  JsonDocument document;
  ASSERT_TRUE(document.parse(R"({"a":[1,[2,{"x":3}],4],"":{"b":{"c":[]}},"k\u0065y":"v","é":null,"a":5})"));
  const auto members = children(document.root());
  ASSERT_EQ(members.size(), 5u);
  EXPECT_EQ(document.root().size(), 5u);
  EXPECT_EQ(members[0].key(), "a");
  EXPECT_EQ(members[0].size(), 3u);
  EXPECT_EQ(children(members[0])[2].number(), 4);
  const auto inner = children(children(children(members[0])[1])[1]);
  ASSERT_EQ(inner.size(), 1u);
  EXPECT_EQ(inner[0].key(), "x");
  EXPECT_EQ(inner[0].number(), 3);
  EXPECT_EQ(members[1].key(), "");
  EXPECT_EQ(children(members[1])[0].key(), "b");
  EXPECT_EQ(members[2].key(), "key");
  EXPECT_EQ(members[2].text(), "v");
  EXPECT_EQ(members[3].key(), "é");
  EXPECT_EQ(members[4].key(), "a");  // duplicates are seen, not swallowed (spec 01 §2.3)
  EXPECT_EQ(members[4].number(), 5);
}

TEST(JsonDocument, ElementsOfAnArrayInAnObjectHaveNoKey) {
  JsonDocument document;
  ASSERT_TRUE(document.parse(R"({"a":[[1],{"b":2}],"c":3})"));
  const auto elements = children(children(document.root())[0]);
  EXPECT_EQ(children(elements[0])[0].number(), 1);
  EXPECT_EQ(children(elements[1])[0].key(), "b");
  EXPECT_EQ(children(document.root())[1].key(), "c");
}

TEST(JsonDocument, EscapesAreDecoded) {
  JsonDocument document;
  ASSERT_TRUE(document.parse(
      R"(["\"\\\/\b\f\n\r\t","\u0000\u001F","\u00e9\u2603\uFFFF","\ud834\udd1e\uDBFF\uDFFF","é☃𝄞)" "\x7F" R"("])"));
  const auto values = children(document.root());
  EXPECT_EQ(values[0].text(), "\"\\/\b\f\n\r\t");
  EXPECT_EQ(values[1].text(), std::string_view("\0\x1F", 2));
  EXPECT_EQ(values[2].text(), "é☃\xEF\xBF\xBF");
  EXPECT_EQ(values[3].text(), "𝄞\xF4\x8F\xBF\xBF");
  EXPECT_EQ(values[4].text(), "é☃𝄞\x7F");
}

TEST(JsonDocument, LongTextsArriveWhole) {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += "abc é";
  const std::string key(10'000, 'k');
  JsonDocument document;
  ASSERT_TRUE(document.parse("{\"" + key + "\":\"" + text + "\\n" + text + "\"}"));
  const JsonValue member = children(document.root())[0];
  EXPECT_EQ(member.key(), key);
  EXPECT_EQ(member.text(), text + "\n" + text);
}

TEST(JsonDocument, UnsignedNumbersAreIntegersInTheirRangeOnly) {
  const auto within = [](const std::string& text, uint64_t max) -> std::optional<uint64_t> {
    JsonDocument document;
    uint64_t value = 0;
    if (!document.parse(text)) return std::nullopt;
    return document.root().unsigned_within(max, value) ? std::optional(value) : std::nullopt;
  };
  EXPECT_EQ(within("0", 0), 0u);
  EXPECT_EQ(within("1", 0), std::nullopt);
  EXPECT_EQ(within("4294967295", 4294967295), 4294967295u);
  EXPECT_EQ(within("4294967296", 4294967295), std::nullopt);
  EXPECT_EQ(within("9223372036854775808", ~uint64_t{0}), 9223372036854775808u);
  EXPECT_EQ(within("18446744073709551615", ~uint64_t{0}), 18446744073709551615u);
  for (const char* text : {"18446744073709551616", "-1", "1.0", "1e2", "0.5", "\"1\"", "true", "null", "[1]", "{}"}) {
    EXPECT_EQ(within(text, ~uint64_t{0}), std::nullopt) << text;
  }
}

// Spec 01 §2.1
TEST(JsonDocument, WhatIsNotOneJsonValueIsAnErrorThatSaysWhere) {
  const std::string nul(1, '\0');
  for (const std::string& text : std::vector<std::string>{
           "", " ", "\t\r\n", "{", "[", "\"", "[1", "[1,", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "]", "}",
           ",", ":", "[,]", "[1,]", "{,}", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{1:2}", "{\"a\":1 \"b\":2}", "[1 2]",
           "1 2", "{}{}", "[]x", "nul", "nulll", "True", "NaN", "Infinity", "-Infinity", "-", "+1", "01", "-01", "00",
           "1.", ".5", "1.e5", "1e", "1e+", "1e5.5", "0x10", "1_000", "'a'", "/**/1", "1//", "# 1",
           "\xEF\xBB\xBF" "1", nul, nul + "1", "1" + nul, "[1]" + nul, "\v1", "\f1", "\xC2\xA0" "1", "undefined",
           "[1}", "{]", "\"a\" \"b\""}) {
    SCOPED_TRACE(text);
    EXPECT_NE(error_of(text).find("at line 1 column "), std::string::npos);
  }
}

TEST(JsonDocument, AStringHasToBeUnicodeTextWithoutRawControlCharacters) {
  for (int byte = 0; byte < 0x20; ++byte) EXPECT_FALSE(parses("\"" + std::string(1, static_cast<char>(byte)) + "\"")) << byte;
  for (const char* text : {
           "\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC3", "\xE0\x80\x80", "\xE2\x82", "\xED\xA0\x80", "\xED\xBF\xBF",
           "\xF0\x80\x80\x80", "\xF0\x9D\x84", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFE", "\xFF", "\\ud800",
           "\\udbff", "\\udc00", "\\udfff", "\\ud800\\ud800", "\\udc00\\ud800", "\\ud800x", "\\ud800\\n",
           "\\ud800\\u0041", "\\a", "\\'", "\\0", "\\x41", "\\u", "\\u1", "\\u12", "\\u123", "\\u123g", "\\u 123",
           "\\U0041", "\\\n"}) {
    EXPECT_FALSE(parses("\"" + std::string(text) + "\"")) << text;
    EXPECT_FALSE(parses("{\"" + std::string(text) + "\":1}")) << text;
    EXPECT_FALSE(parses("[\"ok\",\"long enough to be no short string " + std::string(text) + "\"]")) << text;
  }
}

// Spec 01 §2.3: "more than 127 nested arrays/objects"
TEST(JsonDocument, NestingEndsAt127) {
  const auto arrays = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  const auto objects = [](int depth) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += "{\"a\":";
    return text + "1" + std::string(depth, '}');
  };
  EXPECT_TRUE(parses(arrays(127)));
  EXPECT_FALSE(parses(arrays(128)));
  EXPECT_TRUE(parses(objects(127)));
  EXPECT_FALSE(parses(objects(128)));
  EXPECT_TRUE(parses("[" + arrays(126) + "," + arrays(126) + "]"));  // depth, not count
  EXPECT_FALSE(parses(std::string(10'000'000, '[')));
  JsonDocument document;
  ASSERT_TRUE(document.parse(arrays(127)));
  int depth = 1;
  for (JsonValue value = document.root(); value.size() == 1; value = *value.begin()) ++depth;
  EXPECT_EQ(depth, 127);
}

// README 7: counts are bounded, and beyond a bound there is an error by name
TEST(JsonDocument, TheNumberOfValuesIsBounded) {
  const auto zeros = [](size_t count) {
    std::string text = "[0";
    for (size_t i = 1; i < count; ++i) text += ",0";
    return text + "]";
  };
  EXPECT_TRUE(parses(zeros(100'000)));
  EXPECT_NE(error_of(zeros(8'000'000)).find("too many values"), std::string::npos);
}

double number_of(const std::string& text) {
  JsonDocument document;
  if (document.parse(text)) return document.root().number();
  ADD_FAILURE() << text << " was refused";
  return std::nan("");
}

// Spec 01 §2.3: "out-of-range literal (e.g. 1e400) is a decode error", here or where the field is read (v1_codec_test)
TEST(JsonDocument, ANumberBeyondADoubleIsNeverReadAsAFiniteOne) {
  for (const char* text : {"1e309", "-1e309", "1e400", "1e99999", "1E+400", "17976931348623159e293", "1e9999999999"}) {
    JsonDocument document;
    EXPECT_TRUE(!document.parse(text) || !std::isfinite(document.root().number())) << text;
  }
  JsonDocument document;
  EXPECT_TRUE(!document.parse(std::string(400, '9')) || !std::isfinite(document.root().number()));
}

TEST(JsonDocument, ANumberThatFitsIsTheNearestDouble) {
  for (const std::string& text : {
           std::string("0"), std::string("-0.0"), std::string("0.1"), std::string("0.7"), std::string("0.95"),
           std::string("1e22"), std::string("1e23"), std::string("123456789012345678901234567890"),
           std::string("0.30000000000000004"), std::string("9007199254740993"), std::string("1.7976931348623157e308"),
           std::string("2.2250738585072014e-308"), std::string("5e-324"), std::string("4.9406564584124654e-324"),
           std::string("1e-400"), std::string("0e400"), std::string("3.141592653589793238462643383279502884197"),
           "0." + std::string(400, '0') + "1e401", "1" + std::string(300, '0')}) {
    EXPECT_EQ(number_of(text), std::strtod(text.c_str(), nullptr)) << text;
  }
}

// P1: what std::to_chars writes (architecture §6) is read back as the same number
TEST(JsonDocument, EveryWrittenDoubleIsReadBackExactly) {
  std::mt19937_64 random(1);
  int wrong = 0;
  for (int i = 0; i < 20'000; ++i) {
    const uint64_t bits = random();
    const double value = i % 2 == 0 ? static_cast<double>(bits >> 11) * 0x1p-52 : std::bit_cast<double>(bits);
    if (!std::isfinite(value)) continue;
    std::array<char, 32> buffer;
    const std::string text(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr);
    JsonDocument document;
    ASSERT_TRUE(document.parse(text)) << text;
    if (document.root().number() != value && ++wrong <= 3) ADD_FAILURE() << text << " was read as another number";
  }
  EXPECT_EQ(wrong, 0);
}

TEST(JsonDocument, IsParsedAgainAfterErrorsAndAfterLargeTexts) {
  JsonDocument document;
  const std::string large = "[\"" + std::string(1'000'000, 'x') + "\",1,2,3]";
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(document.parse("[1,{\"a\":[\"cut"));
    ASSERT_TRUE(document.parse(large));
    EXPECT_EQ(document.root().size(), 4u);
    EXPECT_FALSE(document.parse(""));
    ASSERT_TRUE(document.parse(R"({"a":"b"})"));
    EXPECT_EQ(document.root().size(), 1u);
    EXPECT_EQ(children(document.root())[0].key(), "a");
    EXPECT_EQ(children(document.root())[0].text(), "b");
  }
}

// A second reader, written from RFC 8259 alone: says what one JSON value is, with the limits of spec 01 §2.3.
class Reader {
 public:
  enum class Verdict { kNo, kYes, kEither };
  static Verdict judge(std::string_view text) {
    Reader reader(text);
    reader.space();
    bool good = reader.value(0);
    reader.space();
    good = good && reader.at_ == text.size() && is_valid_utf8(text);
    return good && reader.beyond_ ? Verdict::kEither : good ? Verdict::kYes : Verdict::kNo;
  }

 private:
  explicit Reader(std::string_view text) : text_(text) {}
  int peek() const { return at_ < text_.size() ? static_cast<unsigned char>(text_[at_]) : -1; }
  bool take(char c) {
    if (peek() != static_cast<unsigned char>(c)) return false;
    ++at_;
    return true;
  }
  bool word(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void space() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
  }
  size_t digits() {
    const size_t from = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ - from;
  }
  bool value(int depth) {
    if (peek() == '"') return string();
    if (peek() == '[' || peek() == '{') return depth < 127 && container(depth);
    return word("null") || word("true") || word("false") || number();
  }
  bool container(int depth) {
    const bool object = peek() == '{';
    const char close = object ? '}' : ']';
    ++at_;
    space();
    if (take(close)) return true;
    do {
      space();
      if (object) {
        if (!string()) return false;
        space();
        if (!take(':')) return false;
        space();
      }
      if (!value(depth + 1)) return false;
      space();
    } while (take(','));
    return take(close);
  }
  bool number() {
    const size_t from = at_;
    take('-');
    if (!take('0') && digits() == 0) return false;
    if (take('.') && digits() == 0) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      const size_t length = digits();
      if (length == 0) return false;
      beyond_ = beyond_ || length > 8;
    }
    beyond_ = beyond_ || !std::isfinite(std::strtod(std::string(text_.substr(from, at_ - from)).c_str(), nullptr));
    return true;
  }
  // The code unit after \u, or -1.
  int unit() {
    int value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const int c = peek();
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0) return -1;
      value = value * 16 + digit;
    }
    return value;
  }
  bool string() {
    if (!take('"')) return false;
    while (!take('"')) {
      if (peek() < 0x20) return false;  // a control character or the end
      if (!take('\\')) {
        ++at_;
      } else if (take('u')) {
        const int first = unit();
        if (first < 0 || (first >= 0xDC00 && first <= 0xDFFF)) return false;
        if (first >= 0xD800 && first <= 0xDBFF) {
          if (!word("\\u")) return false;
          const int second = unit();
          if (second < 0xDC00 || second > 0xDFFF) return false;
        }
      } else {
        if (peek() < 0 || std::string_view("\"\\/bfnrt").find(static_cast<char>(peek())) == std::string_view::npos) return false;
        ++at_;
      }
    }
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
  bool beyond_ = false;  // a number beyond a double, or with an exponent of more than eight digits
};

TEST(JsonDocument, AgreesWithASecondReaderOnDamagedTexts) {
  const std::vector<std::string> texts = {
      R"({"id":"req-8","messages":[{"role":"user","content":"h\u00e9 \ud834\udd1e"}],"temperature":0.25,"top_k":1,"stop":["\n\n","END"]})",
      R"([null,true,false,0,-7,18446744073709551615,1.5e+10,-0.5E-3,"text","",[],{},[[{}]]])",
      R"( {"a" : [ 1 , 2 ] ,"b":"é☃𝄞\\\""} )", std::string(125, '[') + "{\"a\":[1]}" + std::string(125, ']'),
      "-12.5e3", "\"\\u0041\\ud834\\udd1e\""};
  static constexpr std::array<std::string_view, 26> kPieces = {
      "null", "1e400", "-", "0", "1", ".", "e", "E+", "\"", "\\", "{", "}", "[", "]", ",", ":", "\\ud800", "\\udd1e",
      "\\u0000", "\xFF", "\xE2\x82", "é", "\x01", "\t", "[[", "\"a\":"};
  std::mt19937 random(5);
  int accepted = 0, refused = 0;
  for (int i = 0; i < 60'000 && !HasFailure(); ++i) {
    std::string text = texts[i % texts.size()];
    for (size_t left = 1 + random() % 3; left > 0; --left) {
      const size_t at = random() % (text.size() + 1);
      const std::string_view piece = kPieces[random() % kPieces.size()];
      switch (random() % 4) {
        case 0:
          if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
          break;
        case 1: text.erase(at, random() % 6); break;
        case 2: text.insert(at, piece); break;
        default: text.replace(at, random() % 4, piece);
      }
    }
    const auto verdict = Reader::judge(text);
    const bool parsed = parses(text);
    if (verdict != Reader::Verdict::kEither) {
      EXPECT_EQ(parsed, verdict == Reader::Verdict::kYes) << text;
    }
    (parsed ? accepted : refused)++;
  }
  EXPECT_GT(accepted, 2'000);
  EXPECT_GT(refused, 10'000);
}

}  // namespace
}  // namespace inferd::wire
