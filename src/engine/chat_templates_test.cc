// Rendering and reading on templates of llama.cpp's models/templates. What the models write is written here by hand, after those templates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/chat_template.h"

namespace inferd::engine {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::filesystem::path kFolder = INFERD_CHAT_TEMPLATES;
const std::vector<std::string> kNoControls;

std::unique_ptr<ChatTemplate> load(const std::string& name) {
  std::ifstream file(kFolder / (name + ".jinja"));
  std::stringstream source;
  source << file.rdbuf();
  auto made = ChatTemplate::from_source(source.str(), "<BOS>", "<EOS>");
  EXPECT_TRUE(made.has_value()) << name << ": " << made.error().message;
  if (!made) return nullptr;
  (*made)->set_parse_share(1e12);
  return std::move(*made);
}

Tool weather() {
  return {"get_weather", "Weather of a place.",
          R"({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city","days"]})"};
}

GenerateRequest question(std::vector<Tool> tools = {weather()}) {
  GenerateRequest request;
  request.surface = Surface::kV2;
  request.messages.push_back(text_message(Role::kUser, "How is it in Paris?"));
  request.tools = std::move(tools);
  return request;
}

GenerateRequest conversation() {
  GenerateRequest request = question();
  const Block call{ToolUseBlock{"tc-12345678", "get_weather", R"({"city":"Lyön","days":3})"}};
  request.messages.push_back({Role::kAssistant, {Block{TextBlock{"I look."}}, call}});
  request.messages.push_back({Role::kUser, {Block{ToolResultBlock{"tc-12345678", {Block{TextBlock{"sunny "}}, Block{TextBlock{"weather"}}}}}}});
  return request;
}

ToolChoice choice(ToolChoice::Mode mode, std::string name = {}) { return {mode, std::move(name)}; }

Result<ChatTemplate::Rendered> render(const ChatTemplate& chat_template, const GenerateRequest& request) {
  ControlMarks marks(kNoControls);
  return chat_template.render(request, false, marks);
}

std::string shown(const std::vector<Piece>& pieces) {
  std::string out;
  for (const Piece& piece : pieces) {
    if (piece.kind == Piece::Kind::kToolCall) out += "[" + piece.call.name + " " + piece.call.input + "]";
    if (piece.kind == Piece::Kind::kText) out += "<" + piece.text + ">";
    if (piece.kind == Piece::Kind::kThinking) out += "(" + piece.text + ")";
  }
  return out;
}

// Byte by byte.
std::string read(AnswerStream& answer, std::string_view text, bool ended = true) {
  std::vector<Piece> out;
  for (const char c : text) {
    if (answer.push(std::string_view(&c, 1), out)) break;
  }
  const auto finished = answer.finish(ended, out);
  return shown(out) + (finished ? "" : finished.error().code == Code::kToolCallMalformed ? " malformed" : " failed");
}

struct Case {
  const char* name;
  bool own_form;             // the template has none that holds
  bool thinks;
  const char* thought;       // thinking and text, as the model writes them
  const char* thought_read;  // nullptr: no thinking in this template's answers
  const char* call;          // text and a call
  const char* call_read = "<I look.>[get_weather {\"city\":\"Lyön\",\"days\":3}]";
};

const char* const kHermesCall = "I look.<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"days\": 3, \"city\": \"Lyön\"}}\n</tool_call>";
const char* const kHermesOnly = "[get_weather {\"city\":\"Lyön\",\"days\":3}]";

const Case kCases[] = {
    {"Qwen-Qwen3-0.6B", false, true, "<think>\nHm.\n</think>\n\nIt is fine.", "(Hm.)<It is fine.>", kHermesCall},
    {"Qwen-Qwen2.5-7B-Instruct", false, false, "It is < fine {x}", nullptr, kHermesCall},
    {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", false, false, "It is < fine {x}", nullptr, kHermesCall},
    {"ibm-granite-granite-4.0", false, false, "It is < fine {x}", nullptr, kHermesCall},
    {"meta-llama-Llama-3.1-8B-Instruct", true, false, "It is < fine {x}", nullptr, kHermesCall},
    {"meta-llama-Llama-3.3-70B-Instruct", true, false, "It is < fine {x}", nullptr, kHermesCall},
    {"HuggingFaceTB-SmolLM3-3B", true, true, "<think>\nHm.\n</think>\nIt is fine.", "(Hm.)<It is fine.>", kHermesCall},
    {"ibm-granite-granite-3.3-2B-Instruct", true, true, "It is < fine {x}", nullptr, kHermesCall},
    {"deepseek-ai-DeepSeek-V3.1", true, true, "Hm.</think>It is fine.", "(Hm.)<It is fine.>", nullptr},
    {"microsoft-Phi-3.5-mini-instruct", true, false, "It is < fine {x}", nullptr, kHermesCall},
    {"google-gemma-2-2b-it", true, false, "It is < fine {x}", nullptr, kHermesCall},
    {"mistralai-Mistral-Nemo-Instruct-2407", false, false, "It is < fine {x}", nullptr,
     "I look.[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Lyön\", \"days\": 3}, \"id\": \"abcdefghi\"}]"},
    {"google-gemma-4-31B-it", false, true, "<|channel>thought\nHm.<channel|>It is fine.", "(Hm.)<It is fine.>",
     "I look.<|tool_call>call:get_weather{city:<|\"|>Lyön<|\"|>,days:3}<tool_call|>"},
    {"openai-gpt-oss-120b", false, true, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>It is fine.",
     "(Hm.)<It is fine.>",
     "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>"
     "{\"city\": \"Lyön\", \"days\": 3}"},
    {"moonshotai-Kimi-K2", false, true, "It is < fine {x}", nullptr,
     "I look.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"city\": \"Lyön\", \"days\": 3}"
     "<|tool_call_end|><|tool_calls_section_end|>"},
    {"GLM-4.6", false, true, "\n<think>Hm.</think>\nIt is fine.", "(Hm.)<It is fine.>",
     "\nI look.<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Lyön</arg_value>\n<arg_key>days</arg_key>\n"
     "<arg_value>3</arg_value>\n</tool_call>"},
    {"Qwen3-Coder", false, false, "It is < fine {x}", nullptr,
     "I look.<tool_call>\n<function=get_weather>\n<parameter=city>\nLyön\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
     "</function>\n</tool_call>"},
    {"deepseek-ai-DeepSeek-V3.2", false, true, "Hm.</think>It is fine.", "(Hm.)<It is fine.>",
     "</think>I look.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">Lyön"
     "</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"},
    {"LFM2.5-8B-A1B", false, true, "<think>Hm.</think>It is fine.", "(Hm.)<It is fine.>",
     "I look.<|tool_call_start|>[get_weather(city='Lyön', days=3)]<|tool_call_end|>"},
};

class ChatTemplates : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kFolder)) GTEST_SKIP() << "this llama.cpp came without its templates";
    template_ = load(GetParam().name);
    ASSERT_NE(template_, nullptr);
  }
  std::unique_ptr<ChatTemplate> template_;
};

TEST_P(ChatTemplates, DeclarationsCallsAndResultsAreInThePrompt) {
  EXPECT_EQ(template_->has_tool_form(), !GetParam().own_form);
  EXPECT_EQ(template_->supports_thinking(), GetParam().thinks);
  const auto rendered = render(*template_, conversation());
  ASSERT_TRUE(rendered.has_value()) << rendered.error().message;
  for (const char* text : {"get_weather", "Weather of a place.", "city", "days", "How is it in Paris?", "sunny weather"}) {
    EXPECT_THAT(rendered->prompt, HasSubstr(text));
  }
  if (GetParam().own_form) {
    EXPECT_THAT(rendered->prompt, HasSubstr("I look."));  // others leave out what was said beside a call
  }
  EXPECT_THAT(rendered->prompt, testing::AnyOf(HasSubstr("Lyön"), HasSubstr("Ly\\u00f6n")));
  EXPECT_THAT(rendered->prompt, Not(HasSubstr("inferdmark")));
  EXPECT_FALSE(rendered->grammar.gbnf.empty());
  EXPECT_FALSE(rendered->grammar.triggers.empty());
  EXPECT_FALSE(rendered->grammar.from_caller);
  EXPECT_FALSE(rendered->call_required);
}

TEST_P(ChatTemplates, WithoutToolsNothingIsDeclaredAndTheHistoryStays) {
  GenerateRequest request = conversation();
  request.tool_choice = choice(ToolChoice::Mode::kNone);
  const auto rendered = render(*template_, request);
  ASSERT_TRUE(rendered.has_value()) << rendered.error().message;
  EXPECT_THAT(rendered->prompt, Not(HasSubstr("Weather of a place.")));
  EXPECT_THAT(rendered->prompt, HasSubstr("sunny weather"));
  EXPECT_TRUE(rendered->grammar.gbnf.empty());
}

TEST_P(ChatTemplates, ARequiredCallIsConstrainedFromTheFirstToken) {
  GenerateRequest request = question({weather(), {"ping", "Pings.", "{}"}});
  for (const auto& wanted : {choice(ToolChoice::Mode::kRequired), choice(ToolChoice::Mode::kNamed, "ping")}) {
    request.tool_choice = wanted;
    const auto rendered = render(*template_, request);
    ASSERT_TRUE(rendered.has_value()) << rendered.error().message;
    EXPECT_TRUE(rendered->call_required);
    EXPECT_FALSE(rendered->grammar.gbnf.empty());
    EXPECT_TRUE(rendered->grammar.triggers.words.empty());
    EXPECT_TRUE(rendered->grammar.triggers.patterns.empty());
    EXPECT_TRUE(rendered->prompt.ends_with(rendered->grammar.begun));
    EXPECT_THAT(rendered->prompt, HasSubstr("Pings."));
    if (wanted.mode == ToolChoice::Mode::kNamed) {
      EXPECT_THAT(rendered->prompt, Not(HasSubstr("Weather of a place.")));
    }
  }
}

TEST_P(ChatTemplates, AnswersAreReadByteByByte) {
  const Case& test = GetParam();
  const std::string thought_read = test.thought_read != nullptr ? test.thought_read : "<" + std::string(test.thought) + ">";
  for (const GenerateRequest& request : {question(), question({}), conversation()}) {
    auto rendered = render(*template_, request);
    ASSERT_TRUE(rendered.has_value()) << rendered.error().message;
    EXPECT_EQ(read(*rendered->answer, test.thought), thought_read);
  }
  if (test.call == nullptr) return;
  auto rendered = render(*template_, question());
  ASSERT_TRUE(rendered.has_value());
  EXPECT_EQ(read(*rendered->answer, test.call), test.call_read);
}

TEST_P(ChatTemplates, HalfACallIsNeverSent) {
  const Case& test = GetParam();
  if (test.call == nullptr) return;
  const std::string call = test.call;
  const size_t value = call.find("Ly") + 1;
  auto cut = render(*template_, question());
  ASSERT_TRUE(cut.has_value());
  EXPECT_EQ(read(*cut->answer, call.substr(0, value), false), "<I look.>");
  auto ended = render(*template_, question());
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(read(*ended->answer, call.substr(0, value), true), "<I look.> malformed");
}

INSTANTIATE_TEST_SUITE_P(All, ChatTemplates, testing::ValuesIn(kCases), [](const auto& tested) {
  std::string name = tested.param.name;
  std::ranges::replace_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
});

class ChatTemplateTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kFolder)) GTEST_SKIP() << "this llama.cpp came without its templates";
  }
};

TEST_F(ChatTemplateTest, V1RendersWithoutThinkingAndReadsPlainText) {
  const auto chat_template = load("Qwen-Qwen3-0.6B");
  GenerateRequest request;
  request.messages.push_back(text_message(Role::kUser, "Hi"));
  request.grammar = "root ::= \"a\"";
  auto rendered = render(*chat_template, request);
  ASSERT_TRUE(rendered.has_value());
  EXPECT_TRUE(rendered->prompt.ends_with("<think>\n\n</think>\n\n"));
  EXPECT_EQ(rendered->grammar.gbnf, request.grammar);
  EXPECT_TRUE(rendered->grammar.from_caller);
  EXPECT_EQ(read(*rendered->answer, "<think>x</think><tool_call>y"), "<<think>x</think><tool_call>y>");
}

TEST_F(ChatTemplateTest, AResponseFormatIsTextFromTheFirstTokenWhereTheTemplatePutsIt) {
  const std::pair<const char*, const char*> kEnds[] = {{"Qwen-Qwen3-0.6B", "</think>\n\n"},
                                                       {"openai-gpt-oss-120b", "<|channel|>final<|message|>"},
                                                       {"llama-cpp-deepseek-r1", "</think>\n\n"},
                                                       {"meta-llama-Llama-3.1-8B-Instruct", "<|end_header_id|>\n\n"}};
  for (const auto& [name, end] : kEnds) {
    GenerateRequest request = question({});
    request.json_schema = R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]})";
    auto rendered = render(*load(name), request);
    ASSERT_TRUE(rendered.has_value()) << name << rendered.error().message;
    EXPECT_TRUE(rendered->prompt.ends_with(end)) << rendered->prompt;
    EXPECT_FALSE(rendered->grammar.gbnf.empty());
    EXPECT_TRUE(rendered->grammar.triggers.empty());
    EXPECT_TRUE(rendered->grammar.begun.empty());
    EXPECT_EQ(read(*rendered->answer, "{\"a\": 1}"), "<{\"a\": 1}>");
  }
}

TEST_F(ChatTemplateTest, CallersControlTextsBecomeMarksEverywhere) {
  const std::vector<std::string> controls = {"<|im_start|>", "<|im_end|>", "<|\"|>"};
  for (const char* name : {"Qwen-Qwen2.5-7B-Instruct", "microsoft-Phi-3.5-mini-instruct"}) {
    const auto chat_template = load(name);
    const std::string schema = R"({"type":"object","properties":{"<|im_end|>":{"type":"string","enum":["<|\"|>"]}}})";
    GenerateRequest request = question({{"f", "d<|im_end|>", schema}});
    request.messages.front() = text_message(Role::kUser, "a<|im_end|>b");
    request.messages.push_back({Role::kAssistant, {Block{ToolUseBlock{"1", "n<|im_end|>", R"({"<|im_end|>":["<|im_start|>"]})"}}}});
    request.messages.push_back({Role::kUser, {Block{ToolResultBlock{"1", {Block{TextBlock{"<|im_end"}}, Block{TextBlock{"|>"}}}}}}});
    ControlMarks marks(controls);
    const auto rendered = chat_template->render(request, false, marks);
    ASSERT_TRUE(rendered.has_value()) << rendered.error().message;
    size_t from_callers = 0;
    for (const auto& part : marks.split(rendered->prompt)) {
      if (!part.from_template) ++from_callers;
    }
    EXPECT_GE(from_callers, 7u) << rendered->prompt;
    EXPECT_THAT(rendered->prompt, Not(HasSubstr("b<|im_end|>\n<|im_end|>")));
    EXPECT_THAT(rendered->grammar.gbnf, Not(HasSubstr("inferdmark")));
    EXPECT_THAT(rendered->grammar.gbnf, HasSubstr("<|im_end|>"));
  }
}

TEST_F(ChatTemplateTest, AToolsNameMayHoldNoControlText) {
  const std::vector<std::string> controls = {"<|im_end|>"};
  ControlMarks marks(controls);
  const auto rendered = load("Qwen-Qwen2.5-7B-Instruct")->render(question({{"a<|im_end|>", "", "{}"}}), false, marks);
  ASSERT_FALSE(rendered.has_value());
  EXPECT_EQ(rendered.error().code, Code::kInvalidRequest);
}

TEST_F(ChatTemplateTest, AConversationThatTheTemplateRefusesIsTheCallersFault) {
  const auto chat_template = load("google-gemma-2-2b-it");
  GenerateRequest request = question({});
  request.messages.push_back(text_message(Role::kUser, "And again?"));
  const auto v2 = render(*chat_template, request);
  ASSERT_FALSE(v2.has_value());
  EXPECT_EQ(v2.error().code, Code::kInvalidRequest);
  EXPECT_THAT(v2.error().message, testing::StartsWith("render: the model's chat template refuses"));
  request.surface = Surface::kV1;
  const auto v1 = render(*chat_template, request);
  ASSERT_FALSE(v1.has_value());
  EXPECT_THAT(v1.error().message, testing::StartsWith("the model's chat template refuses"));
}

TEST_F(ChatTemplateTest, AttachmentsBecomeMarksInOrderOrAreRefusedByName) {
  const auto chat_template = load("Qwen-Qwen2.5-7B-Instruct");
  GenerateRequest request = question({});
  request.attachments.push_back({.kind = MediaKind::kImage, .id = "one", .base64 = {}});
  request.attachments.push_back({.kind = MediaKind::kAudio, .id = "two", .base64 = {}});
  request.messages.front().content = {Block{TextBlock{"a"}}, Block{MediaBlock{MediaKind::kAudio, "two"}}, Block{TextBlock{"b"}},
                                      Block{MediaBlock{MediaKind::kImage, "one"}}};
  ControlMarks marks(kNoControls);
  const auto rendered = chat_template->render(request, true, marks);
  ASSERT_TRUE(rendered.has_value());
  std::string seen;
  for (const auto& part : marks.split(rendered->prompt)) {
    if (part.number) seen += rendered->media[*part.number]->id + " ";
  }
  EXPECT_EQ(seen, "two one ");
  const auto refused = render(*chat_template, request);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kAttachmentUnsupported);
  EXPECT_THAT(refused.error().message, testing::StartsWith("attachment: "));
  EXPECT_THAT(refused.error().message, HasSubstr("\"two\""));
}

TEST_F(ChatTemplateTest, AResultTakesTextOnly) {
  GenerateRequest request = question();
  request.attachments.push_back({.kind = MediaKind::kImage, .id = "one", .base64 = {}});
  request.messages.push_back({Role::kUser, {Block{ToolResultBlock{"x", {Block{MediaBlock{MediaKind::kImage, "one"}}}}}}});
  ControlMarks marks(kNoControls);
  const auto refused = load("Qwen-Qwen2.5-7B-Instruct")->render(request, true, marks);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kAttachmentUnsupported);
}

TEST_F(ChatTemplateTest, ToolsThatTheLibraryMixesUpGetOurForm) {
  const auto chat_template = load("Qwen-Qwen2.5-7B-Instruct");
  const auto uses_own = [&](std::vector<Tool> tools) {
    const auto rendered = render(*chat_template, question(std::move(tools)));
    return rendered && rendered->grammar.gbnf.find("t0-call ::=") != std::string::npos;
  };
  EXPECT_FALSE(uses_own({weather(), {"ping", "", "{}"}}));
  EXPECT_FALSE(uses_own({{"天気", "", "{}"}}));
  EXPECT_TRUE(uses_own({{"天気", "", "{}"}, {"温度", "", "{}"}}));       // one rule for both
  EXPECT_TRUE(uses_own({{"get-it", "", "{}"}, {"get_it", "", "{}"}}));
  EXPECT_TRUE(uses_own({{"call", "", "{}"}}));                           // a rule that calls itself
  EXPECT_TRUE(uses_own({{std::string(5000, 'x'), "", "{}"}}));
  EXPECT_TRUE(uses_own({{"f", "", R"({"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"integer"}}})"},
                        {"g", "", R"({"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"string"}}})"}}));
}

TEST_F(ChatTemplateTest, AFormThatWritesEachArgumentNeedsNamesApart) {
  const auto chat_template = load("Qwen3-Coder");
  const auto uses_own = [&](const std::string& schema) {
    const auto rendered = render(*chat_template, question({{"f", "", schema}}));
    return rendered && rendered->grammar.gbnf.find("t0-call ::=") != std::string::npos;
  };
  EXPECT_FALSE(uses_own(R"({"type":"object","properties":{"a":{"type":"string"}}})"));
  EXPECT_TRUE(uses_own(R"({"type":"object","properties":{"名":{"type":"string"},"市":{"type":"string"}}})"));
  EXPECT_TRUE(uses_own(R"({"type":"object"})"));
}

TEST_F(ChatTemplateTest, ASchemaHoldsOrIsRefused) {
  const auto chat_template = load("Qwen-Qwen2.5-7B-Instruct");
  const std::pair<const char*, const char*> kRefused[] = {{R"({"type":"object","properties":{"a":{"not":{}}}})",
                                                           "tools[1].input_schema: /properties/a/not"},
                                                          {R"([])", "tools[1].input_schema"},
                                                          {R"({"type":"string"})", "tools[1].input_schema: /type"}};
  for (const auto& [schema, message] : kRefused) {
    const auto rendered = render(*chat_template, question({weather(), {"g", "", schema}}));
    ASSERT_FALSE(rendered.has_value()) << schema;
    EXPECT_EQ(rendered.error().code, Code::kInvalidRequest);
    EXPECT_THAT(rendered.error().message, testing::StartsWith(message));
  }
}

TEST_F(ChatTemplateTest, ResultsStandWhereTheyAreAndKnowTheirCalls) {
  GenerateRequest request = question();
  request.messages.push_back({Role::kAssistant, {Block{ToolUseBlock{"a", "first", "{}"}}, Block{ToolUseBlock{"b", "second", "null"}}}});
  request.messages.push_back({Role::kUser, {Block{TextBlock{"before"}}, Block{ToolResultBlock{"b", {}}}, Block{ToolResultBlock{"a", {}}},
                                            Block{ToolResultBlock{"none", {}}}, Block{TextBlock{"after"}}}});
  request.messages.push_back({Role::kAssistant, {Block{ToolUseBlock{"a", "third", "[1]"}}}});
  request.messages.push_back({Role::kUser, {Block{ToolResultBlock{"a", {}}}}});
  ControlMarks marks(kNoControls);
  const auto read = read_conversation(request, false, marks);
  ASSERT_TRUE(read.has_value());
  std::string names;
  for (const Turn& turn : read->turns) names += turn.speaker == Turn::Speaker::kTool ? turn.name + "=" + turn.call_id + " " : turn.text + " ";
  EXPECT_EQ(names, "How is it in Paris?  before second=call00002 first=call00001 get_weather=call00003 after  third=call00004 ");
  EXPECT_EQ(read->turns[1].calls[1].arguments, "{}");
  EXPECT_EQ(read->turns[7].calls[0].arguments, "{\"input\":[1]}");
}

// Spec 10, E40 to E49, with the syntax of Gemma 4 in llama.cpp's reading. Other than the published parser it takes declared names only, ids are
// not tc-1 and tc-2, and thinking is <|channel>thought ... <channel|>.
class Gemma4 : public ChatTemplateTest {
 protected:
  std::string answer(std::string_view text, size_t step = 1) {
    std::vector<Tool> tools;
    for (const char* name : {"ping", "set", "f", "a", "b"}) tools.push_back({name, "", R"({"type":"object"})"});
    auto rendered = render(*load("google-gemma-4-31B-it"), question(std::move(tools)));
    EXPECT_TRUE(rendered.has_value());
    std::vector<Piece> out;
    for (size_t at = 0; at < text.size(); at += step) rendered->answer->push(text.substr(at, step), out);
    const auto finished = rendered->answer->finish(true, out);
    return shown(out) + (finished ? "" : " malformed");
  }
};

TEST_F(Gemma4, E40_PlainPiecesPassThrough) { EXPECT_EQ(answer("plain < text {a}"), "<plain < text {a}>"); }
TEST_F(Gemma4, E41_E42_ACallInOnePieceOrInMany) {
  const std::string call = "<|tool_call>call:f{q:<|\"|>x \"y\" \\ <|\"|>,größe:<|\"|>ß<|\"|>}<tool_call|>";
  for (size_t step = 1; step <= call.size(); ++step) EXPECT_EQ(answer(call, step), R"([f {"größe":"ß","q":"x \"y\" \\ "}])");
}
TEST_F(Gemma4, E43_TextBeforeACall) { EXPECT_EQ(answer("before <|tool_call>call:f{}<tool_call|>"), "<before >[f {}]"); }
TEST_F(Gemma4, E44_NonsenseIsMalformed) { EXPECT_EQ(answer("<|tool_call>nonsense<tool_call|>"), " malformed"); }
TEST_F(Gemma4, E45_AnUnclosedCallIsMalformed) { EXPECT_EQ(answer("text<|tool_call>call:f{q:<|\"|>x"), "<text> malformed"); }
TEST_F(Gemma4, E46_ThinkingIsSeparate) {
  EXPECT_EQ(answer("<|channel>thought\nreason\n<channel|>visible"), "(reason)<visible>");
  EXPECT_EQ(answer("<|channel>thought\nreason\n<channel|>visible", 7), "(reason)<visible>");
}
TEST_F(Gemma4, E47_TwoCalls) { EXPECT_EQ(answer("<|tool_call>call:a{}<tool_call|><|tool_call>call:b{}<tool_call|>"), "[a {}][b {}]"); }
TEST_F(Gemma4, E48_AnInteger) { EXPECT_EQ(answer("<|tool_call>call:set{n:42}<tool_call|>"), "[set {\"n\":42}]"); }
TEST_F(Gemma4, E49_NoArguments) { EXPECT_EQ(answer("<|tool_call>call:ping{}<tool_call|>"), "[ping {}]"); }

}  // namespace
}  // namespace inferd::engine
