#include "engine/chat_template.h"

#include <chat.h>
#include <log.h>

#include <algorithm>
#include <exception>
#include <map>
#include <set>
#include <utility>

#include "engine/answer_parser.h"
#include "engine/chat_answer.h"
#include "engine/own_tool_answer.h"
#include "engine/own_tool_form.h"
#include "engine/plain_answer.h"
#include "engine/schema_check.h"
#include "engine/template_limits.h"
#include "engine/tool_calls.h"

namespace inferd::engine {
namespace {

constexpr std::string_view kRefusal = "the model's chat template refuses this conversation: ";

constexpr const char* kSpace = " \t\r\n";

std::string without_space_behind(std::string_view text) { return std::string(text.substr(0, text.find_last_not_of(kSpace) + 1)); }
std::string without_space_before(std::string_view text) { return std::string(text.substr(std::min(text.find_first_not_of(kSpace), text.size()))); }

const char* role_of(Turn::Speaker speaker) {
  switch (speaker) {
    case Turn::Speaker::kSystem: return "system";
    case Turn::Speaker::kUser: return "user";
    case Turn::Speaker::kAssistant: return "assistant";
    case Turn::Speaker::kTool: return "tool";
  }
  return "user";
}

Turn turn_of(Turn::Speaker speaker, std::string text) {
  return {.speaker = speaker, .text = std::move(text)};
}

// The answer goes on inside of the thinking that the end of the prompt has opened.
bool ends_in_thinking(std::string_view end, const std::string& open, const std::vector<std::string>& closes) {
  const size_t at = open.empty() ? std::string_view::npos : end.rfind(open);
  if (at == std::string_view::npos) return false;
  return std::ranges::none_of(closes, [&](const std::string& close) { return end.find(close, at + open.size()) != std::string_view::npos; });
}

Grammar::Triggers triggers_of(const common_chat_params& params) {
  Grammar::Triggers triggers;
  for (const common_grammar_trigger& trigger : params.grammar_triggers) {
    if (trigger.type == COMMON_GRAMMAR_TRIGGER_TYPE_WORD) {
      // The grammar brings the white space behind the word: without it nothing but a call may follow either.
      triggers.words.push_back(without_space_behind(trigger.value));
    } else if (trigger.type == COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN) {
      triggers.patterns.push_back(trigger.value);
    }
  }
  triggers.thinking_open = params.thinking_start_tag;
  triggers.thinking_close = params.thinking_end_tags;
  triggers.thinking = ends_in_thinking(params.generation_prompt, params.thinking_start_tag, params.thinking_end_tags);
  return triggers;
}

// Our form: calls and results are text, declarations stand in the system turn. A user turn takes the results of its own message.
std::vector<Turn> own_turns(const std::vector<Turn>& turns, std::string declarations) {
  std::vector<Turn> out;
  if (!declarations.empty()) {
    const bool has_system = !turns.empty() && turns.front().speaker == Turn::Speaker::kSystem;
    if (!has_system) out.push_back(turn_of(Turn::Speaker::kSystem, std::exchange(declarations, {})));
  }
  for (const Turn& turn : turns) {
    const bool result = turn.speaker == Turn::Speaker::kTool;
    Turn own{.speaker = result ? Turn::Speaker::kUser : turn.speaker, .message = turn.message, .text = result ? own_result(turn.text) : turn.text};
    if (!declarations.empty()) own.text = std::exchange(declarations, {}) + "\n\n" + own.text;
    for (const Turn::Call& call : turn.calls) {
      if (!own.text.empty()) own.text += '\n';
      own.text += own_call(call.name, call.arguments);
    }
    const bool joins = !out.empty() && own.speaker == Turn::Speaker::kUser && out.back().speaker == Turn::Speaker::kUser &&
                       out.back().message == own.message;
    if (joins) {
      out.back().text += '\n' + own.text;
    } else {
      out.push_back(std::move(own));
    }
  }
  return out;
}

}  // namespace

struct ChatTemplate::Templates {
  common_chat_templates_ptr held;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Templates> templates) : templates_(std::move(templates)) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::create(const llama_model* model) {
  try {
    return from_templates(std::make_unique<Templates>(Templates{common_chat_templates_init(model, "")}));
  } catch (const std::exception& error) {
    return fail(Code::kIntegrity, std::string("the model's chat template cannot be used: ") + error.what());
  }
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::from_source(const std::string& source, const std::string& bos, const std::string& eos) {
  try {
    return from_templates(std::make_unique<Templates>(Templates{common_chat_templates_init(nullptr, source, bos, eos)}));
  } catch (const std::exception& error) {
    return fail(Code::kIntegrity, std::string("the chat template cannot be used: ") + error.what());
  }
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::from_templates(std::unique_ptr<Templates> templates) {
  common_log_set_verbosity_thold(LOG_LEVEL_OUTPUT);  // the library's warnings quote what callers and models write
  std::unique_ptr<ChatTemplate> made(new ChatTemplate(std::move(templates)));
  made->learn();
  return made;
}

// ---- what the template can do

void ChatTemplate::learn() {
  try {
    const auto capabilities = common_chat_templates_get_caps(templates_->held.get());
    const auto parallel = capabilities.find("supports_parallel_tool_calls");
    parallel_calls_ = parallel != capabilities.end() && parallel->second;
    supports_thinking_ = common_chat_templates_support_enable_thinking(templates_->held.get());
  } catch (const std::exception&) {
    supports_thinking_ = false;  // a template that takes no single question: what it says of itself counts
  }
  has_tool_form_ = learn_tool_form();
  learn_answer_form();
  learn_answer_opener();
}

// Its form counts if a declaration, a call and a result all come out of it, and if calls can be constrained, both when they are required and
// when they are not.
bool ChatTemplate::learn_tool_form() {
  const std::string source = common_chat_templates_source(templates_->held.get());
  // Functionary 3.2: the library's trigger stands before what its grammar begins with.
  if (source.find(">>>all") != std::string::npos) return false;
  std::vector<Turn> turns{turn_of(Turn::Speaker::kUser, "question"), turn_of(Turn::Speaker::kAssistant, ""),
                          turn_of(Turn::Speaker::kTool, "probedresult")};
  turns[1].calls.push_back({.id = "call00001", .name = "probedtool", .arguments = R"({"probed":"probedvalue"})"});
  turns[2].call_id = "call00001";
  turns[2].name = "probedtool";
  auto inputs = inputs_of(turns, supports_thinking_);
  inputs.tools.push_back(
      {"probedtool", "probeddescription", R"({"type":"object","properties":{"probed":{"type":"string"}},"required":["probed"]})"});
  inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_REQUIRED;
  const auto required = apply(inputs);
  inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_AUTO;
  const auto free = apply(inputs);
  if (!required || !free || required->grammar.empty() || free->grammar.empty() || !free->grammar_lazy) return false;
  for (const char* text : {"probedtool", "probeddescription", "probedvalue", "probedresult"}) {
    if (free->prompt.find(text) == std::string::npos) return false;
  }
  const Grammar::Triggers triggers = triggers_of(*free);
  if (triggers.empty()) return false;
  written_by_argument_ = is_written_by_argument(free->parser);
  call_openers_ = triggers.words;
  // Templates with patterns for triggers: what their calls have in common (gpt-oss, Muse).
  if (!triggers.patterns.empty()) call_openers_.insert(call_openers_.end(), {" to=functions.", "<atem:function_calls>"});
  return true;
}

// How its prompts end, and whether its answers are more than text.
void ChatTemplate::learn_answer_form() {
  reads_text_ = supports_thinking_;
  const auto params = apply(inputs_of({turn_of(Turn::Speaker::kUser, "question")}, supports_thinking_));
  if (!params) return;
  usual_generation_prompt_ = params->generation_prompt;
  const auto parser = AnswerParser::create(*params);
  if (reads_text_ || !parser) return;
  const std::string_view text = "Some text. {x} <y> [z]\n";
  const ParsedAnswer answer = (*parser)->parse(text);
  reads_text_ = answer.parts.size() != 1 || answer.parts[0].kind != Piece::Kind::kText || answer.parts[0].text != text;
}

// What the template writes between the end of the prompt and an answer (gpt-oss: the channel), so that an answer that is constrained from its
// first token on begins where the model expects it.
void ChatTemplate::learn_answer_opener() {
  const std::string answer = "probedanswer";
  const auto question = apply(inputs_of({turn_of(Turn::Speaker::kUser, "question")}, false));
  auto inputs = inputs_of({turn_of(Turn::Speaker::kUser, "question"), turn_of(Turn::Speaker::kAssistant, answer)}, false);
  inputs.add_generation_prompt = false;
  const auto answered = apply(inputs);
  if (!question) return;
  thinking_open_ = question->thinking_start_tag;
  if (!question->thinking_end_tags.empty()) thinking_close_ = without_space_before(question->thinking_end_tags.front());
  if (!answered) return;
  const size_t at = answered->prompt.rfind(answer);
  if (at != std::string::npos && answered->prompt.starts_with(question->prompt) && question->prompt.size() <= at) {
    answer_opener_ = answered->prompt.substr(question->prompt.size(), at - question->prompt.size());
  }
}

// ---- rendering

std::vector<common_chat_msg> ChatTemplate::messages_of(const std::vector<Turn>& turns) const {
  const std::string source = common_chat_templates_source(templates_->held.get());
  // Kimi's ids name the function and count the calls of the conversation.
  const bool ids_name_functions = source.find("<|tool_call_begin|>") != std::string::npos;
  // An older Gemma 4 template: the library reads results as JSON, and what reads JSON recurses.
  const bool reads_results = source.find("'<|tool_call>call:'") != std::string::npos;
  std::map<std::string, std::string> ids;
  std::vector<common_chat_msg> messages;
  for (const Turn& turn : turns) {
    common_chat_msg& message = messages.emplace_back();
    message.role = role_of(turn.speaker);
    message.content = turn.text;
    for (const Turn::Call& call : turn.calls) {
      std::string& id = ids[call.id];
      id = ids_name_functions ? "functions." + call.name + ":" + std::to_string(ids.size() - 1) : call.id;
      message.tool_calls.push_back({.name = call.name, .arguments = call.arguments, .id = id});
    }
    if (turn.speaker != Turn::Speaker::kTool) continue;
    const auto id = ids.find(turn.call_id);
    message.tool_call_id = id == ids.end() ? turn.call_id : id->second;
    message.tool_name = turn.name;
    if (reads_results && nests_too_deep(turn.text)) message.content = "Result: " + turn.text;
  }
  return messages;
}

common_chat_templates_inputs ChatTemplate::inputs_of(const std::vector<Turn>& turns, bool thinking) const {
  common_chat_templates_inputs inputs;
  inputs.messages = messages_of(turns);
  inputs.add_generation_prompt = true;
  inputs.enable_thinking = thinking;
  inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;  // thinking is told from text
  inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_NONE;
  return inputs;
}

Result<common_chat_params> ChatTemplate::apply(const common_chat_templates_inputs& inputs) const {
  try {
    const std::lock_guard lock(mutex_);
    return common_chat_templates_apply(templates_->held.get(), inputs);
  } catch (const std::exception& error) {
    return fail(Code::kInvalidRequest, std::string(kRefusal) + error.what());
  }
}

// Thinking off (v1 renders so: spec README 3), and the template is not searched for its tool-call syntax.
Result<common_chat_params> ChatTemplate::apply_plain(const std::vector<Turn>& turns) const {
  auto inputs = inputs_of(turns, false);
  inputs.reasoning_format = COMMON_REASONING_FORMAT_NONE;
  inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_AUTO;
  inputs.force_pure_content = true;
  return apply(inputs);
}

Result<ChatTemplate::Rendered> ChatTemplate::render(const GenerateRequest& request, bool takes_media, ControlMarks& marks) const {
  auto conversation = read_conversation(request, takes_media, marks);
  if (!conversation) return std::unexpected(std::move(conversation.error()));
  const auto finished = [&](Result<Rendered> rendered) {
    if (rendered) {
      rendered->media = std::move(conversation->media);
    } else if (request.surface == Surface::kV2 && rendered.error().message.starts_with(kRefusal)) {
      rendered.error().message.insert(0, "render: ");  // as v2 names it (spec 02 §4.1)
    }
    return rendered;
  };
  if (request.surface == Surface::kV1 || !request.grammar.empty()) {
    return finished(render_plain(request, *conversation, {.gbnf = request.grammar, .from_caller = true}));
  }
  if (request.json_schema) {
    auto gbnf = schema_grammar(*request.json_schema, "response_format: schema");
    if (!gbnf) return std::unexpected(std::move(gbnf.error()));
    return finished(render_plain(request, *conversation, {.gbnf = std::move(*gbnf)}));
  }
  const auto tools = callable_tools(request);
  if (!tools) return std::unexpected(tools.error());
  for (const CallableTool& callable : *tools) {
    if (marks.holds_control(callable.tool->name)) {
      return fail(Code::kInvalidRequest, callable.place + ".name holds the text of a control token of this model");
    }
    if (auto holds = check_schema(callable.schema, callable.schema_place()); !holds) return std::unexpected(std::move(holds.error()));
  }
  if (has_tool_form_) {
    auto native = render_native(request, *conversation, *tools, marks);
    if (!native) return finished(std::unexpected(std::move(native.error())));
    if (*native) return finished(std::move(**native));
  }
  return finished(render_own(request, *conversation, *tools, marks));
}

// Text alone, constrained or not.
Result<ChatTemplate::Rendered> ChatTemplate::render_plain(const GenerateRequest& request, const Conversation& conversation, Grammar grammar) const {
  const auto turns = has_tool_form_ ? conversation.turns : own_turns(conversation.turns, {});
  auto params = apply_plain(turns);
  if (!params) return std::unexpected(std::move(params.error()));
  const bool opens = request.surface == Surface::kV2 && !grammar.gbnf.empty();
  return Rendered{.prompt = opens ? opened(*params) : std::move(params->prompt), .grammar = std::move(grammar),
                  .answer = std::make_unique<PlainAnswer>(request.stop)};
}

// The prompt up to where an answer's own text begins.
std::string ChatTemplate::opened(const common_chat_params& params) const {
  const bool thinking = !thinking_close_.empty() && ends_in_thinking(params.generation_prompt, thinking_open_, {thinking_close_});
  return params.prompt + (thinking ? "\n" + thinking_close_ + "\n\n" : answer_opener_);
}

// Text and thinking.
Result<ChatTemplate::Rendered> ChatTemplate::render_text(const GenerateRequest& request, const std::vector<Turn>& turns) const {
  auto params = reads_text_ ? apply(inputs_of(turns, supports_thinking_)) : apply_plain(turns);
  if (!params) return std::unexpected(std::move(params.error()));
  Rendered rendered{.prompt = std::move(params->prompt)};
  if (reads_text_) {
    auto answer = reading(*params, request, false);
    if (!answer) return std::unexpected(std::move(answer.error()));
    rendered.answer = std::move(*answer);
    rendered.grammar.triggers.thinking_open = params->thinking_start_tag;
    rendered.grammar.triggers.thinking_close = params->thinking_end_tags;
    rendered.grammar.triggers.thinking = ends_in_thinking(params->generation_prompt, params->thinking_start_tag, params->thinking_end_tags);
  } else {
    rendered.answer = std::make_unique<PlainAnswer>(request.stop);
  }
  return rendered;
}

Result<std::unique_ptr<AnswerStream>> ChatTemplate::reading(common_chat_params& params, const GenerateRequest& request, bool calls) const {
  auto parser = AnswerParser::create(params);
  if (parser && (*parser)->parse({}).refused) {
    // The library's parser (and its grammar) wants the prompt to end as it does after a question (DeepSeek 3.2: not so after a result).
    params.generation_prompt = usual_generation_prompt_;
    parser = AnswerParser::create(params);
  }
  if (!parser) return std::unexpected(std::move(parser.error()));
  std::vector<std::string> marks = params.thinking_end_tags;
  marks.push_back(params.thinking_start_tag);
  for (const std::string& token : params.preserved_tokens) {
    if (token.size() > 2 && (token.front() == '<' || token.front() == '[')) marks.push_back(token);
  }
  return std::make_unique<ChatAnswer>(
      ChatAnswer::Options{.parse = [parser = std::move(*parser)](std::string_view text) { return parser->parse(text); },
                          .stop = request.stop,
                          .turn_ends = params.additional_stops,
                          .call_openers = calls ? call_openers_ : std::vector<std::string>(),
                          .marks = std::move(marks),
                          .ids = CallIds(request),
                          .parse_share = parse_share_});
}

// nullopt: the template's form cannot take these tools.
Result<std::optional<ChatTemplate::Rendered>> ChatTemplate::render_native(const GenerateRequest& request, const Conversation& conversation,
                                                                          const std::vector<CallableTool>& tools, ControlMarks& marks) const {
  if (tools.empty()) {
    auto rendered = render_text(request, conversation.turns);
    if (!rendered) return std::unexpected(std::move(rendered.error()));
    return std::move(*rendered);
  }
  std::vector<SchemaText> texts;
  for (const CallableTool& callable : tools) texts.push_back({callable.schema, callable.schema_place()});
  const auto schemas = enforceable_schemas(texts);
  if (!schemas || !names_stay_apart(tools) || (written_by_argument_ && !arguments_stay_apart(*schemas))) return std::nullopt;
  const bool required = requires_call(request);
  auto inputs = inputs_of(conversation.turns, supports_thinking_);
  inputs.tool_choice = required ? COMMON_CHAT_TOOL_CHOICE_REQUIRED : COMMON_CHAT_TOOL_CHOICE_AUTO;
  inputs.parallel_tool_calls = parallel_calls_ && !(required && tools.size() == 1 && request.tool_choice->mode == ToolChoice::Mode::kNamed);
  const size_t marks_before = marks.size();
  std::vector<common_chat_tool> as_written;
  for (size_t i = 0; i < tools.size(); ++i) {
    as_written.push_back({tools[i].tool->name, tools[i].tool->description, (*schemas)[i]});
    auto schema = marks.protect_json((*schemas)[i], tools[i].schema_place());
    if (!schema) return std::unexpected(std::move(schema.error()));
    inputs.tools.push_back({tools[i].tool->name, marks.protect(tools[i].tool->description), std::move(*schema)});
  }
  if (marks.size() == marks_before) inputs.tools = as_written;
  auto params = apply(inputs);
  if (!params) return std::unexpected(std::move(params.error()));
  std::string prompt = std::move(params->prompt);
  if (marks.size() != marks_before) {  // what constrains and reads the answer is made of the texts themselves
    inputs.tools = std::move(as_written);
    params = apply(inputs);
    if (!params) return std::unexpected(std::move(params.error()));
  }
  if (params->grammar.empty() || params->grammar_lazy == required) return std::nullopt;
  auto answer = reading(*params, request, true);
  if (!answer) return std::unexpected(std::move(answer.error()));
  Grammar grammar{.gbnf = sound_grammar(params->grammar), .begun = required ? params->generation_prompt : ""};
  if (!required) {
    grammar.triggers = triggers_of(*params);
    if (grammar.triggers.empty()) return std::nullopt;
  }
  return Rendered{.prompt = std::move(prompt), .grammar = std::move(grammar), .answer = std::move(*answer), .call_required = required};
}

Result<ChatTemplate::Rendered> ChatTemplate::render_own(const GenerateRequest& request, const Conversation& conversation,
                                                        const std::vector<CallableTool>& tools, ControlMarks& marks) const {
  if (tools.empty()) return render_text(request, own_turns(conversation.turns, {}));
  const bool required = requires_call(request);
  std::vector<Tool> declared;
  std::set<std::string> names;
  for (const CallableTool& callable : tools) {
    auto schema = marks.protect_json(callable.schema, callable.schema_place());
    if (!schema) return std::unexpected(std::move(schema.error()));
    declared.push_back({callable.tool->name, marks.protect(callable.tool->description), std::move(*schema)});
    names.insert(callable.tool->name);
  }
  const auto turns = own_turns(conversation.turns, own_declarations(declared, required));
  auto gbnf = own_call_grammar(tools, required && request.tool_choice->mode == ToolChoice::Mode::kNamed);
  if (!gbnf) return std::unexpected(std::move(gbnf.error()));
  Rendered rendered;
  if (required) {  // from the first token on, so without thinking
    auto params = apply_plain(turns);
    if (!params) return std::unexpected(std::move(params.error()));
    rendered.prompt = opened(*params);
    rendered.answer = std::make_unique<PlainAnswer>(request.stop);
  } else {
    auto text = render_text(request, turns);
    if (!text) return std::unexpected(std::move(text.error()));
    rendered = std::move(*text);
    rendered.grammar.triggers.words = {std::string(kOwnCallOpen)};
  }
  rendered.grammar.gbnf = std::move(*gbnf);
  rendered.answer = std::make_unique<OwnToolAnswer>(std::move(rendered.answer), std::move(names), CallIds(request));
  rendered.call_required = required;
  return rendered;
}

}  // namespace inferd::engine
