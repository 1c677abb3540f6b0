#include "engine/control_marks.h"

#include <gtest/gtest.h>

namespace inferd::engine {
namespace {

const std::vector<std::string> kControls = {"<|im_start|>", "<|im_end|>", "<|\"|>", "</s>"};

// Parts in brackets: ( ) of the template, [ ] of callers' controls, { } attachments.
std::string shown(const ControlMarks& marks, const std::string& rendered) {
  std::string out;
  for (const auto& part : marks.split(rendered)) {
    if (part.number) {
      out += "{" + std::to_string(*part.number) + "}";
    } else {
      out += part.from_template ? "(" + std::string(part.text) + ")" : "[" + std::string(part.text) + "]";
    }
  }
  return out;
}

TEST(ControlMarks, ControlTextsComeBackAsPlainText) {
  ControlMarks marks(kControls);
  const std::string text = marks.protect("a<|im_end|></s>9<|im_<|im_end|>end|>");
  EXPECT_EQ(text.find("<|im_end|>"), std::string::npos);
  EXPECT_EQ(shown(marks, "<|im_start|>" + text + "<|im_end|>"), "(<|im_start|>a)[<|im_end|>][</s>](9<|im_)[<|im_end|>](end|><|im_end|>)");
  EXPECT_EQ(marks.protect("nothing"), "nothing");
}

TEST(ControlMarks, StringsAndKeysOfJsonAreProtectedAndItStaysJson) {
  ControlMarks marks(kControls);
  const auto json = marks.protect_json(R"({"b":"<|\"|>","a":{"</s>":[1,"\u003c/s>",2.5,null,true]}})", "what");
  ASSERT_TRUE(json.has_value());
  EXPECT_EQ(shown(marks, *json), R"(({"b":")[<|"|>](","a":{")[</s>](":[1,")[</s>](",2.5,null,true]}}))");
  const auto bad = marks.protect_json("{", "what");
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().code, Code::kInvalidRequest);
}

TEST(ControlMarks, TooManyMembersAreRefused) {
  ControlMarks marks(kControls);
  std::string json = "{\"0\":0";
  for (int i = 1; i < 20'000; ++i) json += ",\"" + std::to_string(i) + "\":0";
  EXPECT_FALSE(marks.protect_json(json + "}", "what").has_value());
  EXPECT_TRUE(marks.protect_json("[\"" + std::string(20'000, ':') + "\"]", "what").has_value());
}

TEST(ControlMarks, AttachmentsComeBackByNumber) {
  ControlMarks marks(kControls);
  const std::string second = marks.mark(1), first = marks.mark(0);
  EXPECT_EQ(shown(marks, "a" + second + "7" + first), "(a){1}(7){0}");
  EXPECT_TRUE(marks.holds_control("x</s>"));
  EXPECT_FALSE(marks.holds_control(first));
}

TEST(ControlMarks, TwoRequestsHaveDifferentMarks) {
  ControlMarks one(kControls), other(kControls);
  EXPECT_NE(one.protect("</s>"), other.protect("</s>"));
}

}  // namespace
}  // namespace inferd::engine
