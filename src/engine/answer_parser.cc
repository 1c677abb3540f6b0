#include "engine/answer_parser.h"

#include <chat-peg-parser.h>
#include <chat.h>

#include <algorithm>
#include <exception>

namespace inferd::engine {
namespace {

using Builder = common_chat_peg_builder;

void add_text(ParsedAnswer& answer, Piece::Kind kind, std::string text) {
  if (text.empty()) return;
  if (answer.parts.empty() || answer.parts.back().kind != kind) answer.parts.push_back({.kind = kind, .text = {}, .name = {}, .arguments = {}});
  answer.parts.back().text += text;
}

void add_call(ParsedAnswer& answer) { answer.parts.push_back({.kind = Piece::Kind::kToolCall, .text = {}, .name = {}, .arguments = {}}); }

void set_calls(ParsedAnswer& answer, const std::vector<common_chat_tool_call>& calls) {
  size_t next = 0;
  for (AnswerPart& part : answer.parts) {
    if (part.kind != Piece::Kind::kToolCall || next == calls.size()) continue;
    part.name = calls[next].name;
    part.arguments = calls[next++].arguments;
  }
}

bool add_if_text(ParsedAnswer& answer, const common_peg_ast_node& node) {
  const bool thinking = node.tag == Builder::REASONING;
  if (!thinking && node.tag != Builder::CONTENT) return false;
  add_text(answer, thinking ? Piece::Kind::kThinking : Piece::Kind::kText, node.sanitized_text());
  answer.covered = std::max(answer.covered, node.end);
  return true;
}

// The library's mapper collects all text, all thinking and all calls; this one keeps their order too.
class OrderedMapper : public common_chat_peg_mapper {
 public:
  OrderedMapper(common_chat_msg& message, ParsedAnswer& answer) : common_chat_peg_mapper(message), answer_(answer) {}

  void map(const common_peg_ast_node& node) override {
    common_chat_peg_mapper::map(node);
    if (add_if_text(answer_, node)) return;
    if (!node.tag.starts_with("tool")) return;
    nameless_ = nameless_ || node.tag == Builder::TOOL || node.tag == Builder::TOOL_OPEN;
    call_end_ = std::max(call_end_, node.end);
    note_calls();
    if (!nameless_) answer_.covered = std::max(answer_.covered, call_end_);
  }
  void note_calls() {
    for (; seen_ < result.tool_calls.size(); ++seen_) {
      add_call(answer_);
      nameless_ = false;
    }
  }

 private:
  ParsedAnswer& answer_;
  size_t seen_ = 0;
  size_t call_end_ = 0;
  bool nameless_ = false;  // a call has begun that is no part yet
};

void map_native(const common_peg_ast_arena& tree, const common_peg_parse_result& found, ParsedAnswer& answer) {
  common_chat_msg message;
  OrderedMapper mapper(message, answer);
  mapper.from_ast(tree, found);
  mapper.note_calls();
  set_calls(answer, message.tool_calls);
}

// Forms whose mappers walk the tree themselves, call by call and without a state between calls.
template <class Mapper>
class CallByCall {
 public:
  CallByCall(const common_peg_ast_arena& tree, ParsedAnswer& answer) : tree_(tree), answer_(answer) {}

  void visit(common_peg_ast_id id) {
    const common_peg_ast_node& node = tree_.get(id);
    if (add_if_text(answer_, node)) return;
    if (node.tag != Builder::TOOL) {
      for (const common_peg_ast_id child : node.children) visit(child);
      return;
    }
    common_chat_msg message;
    common_peg_parse_result one;
    one.nodes.push_back(id);
    Mapper(message).from_ast(tree_, one);
    if (message.tool_calls.empty()) return;  // it has no name yet
    answer_.covered = std::max(answer_.covered, node.end);
    for (size_t i = 0; i < message.tool_calls.size(); ++i) add_call(answer_);
    calls_.insert(calls_.end(), message.tool_calls.begin(), message.tool_calls.end());
  }
  void finish() { set_calls(answer_, calls_); }

 private:
  const common_peg_ast_arena& tree_;
  ParsedAnswer& answer_;
  std::vector<common_chat_tool_call> calls_;
};

template <class Mapper>
void map_by_call(const common_peg_ast_arena& tree, const common_peg_parse_result& found, ParsedAnswer& answer) {
  CallByCall<Mapper> walk(tree, answer);
  for (const common_peg_ast_id id : found.nodes) walk.visit(id);
  walk.finish();
}

size_t depth_of(const common_peg_ast_arena& tree, const std::vector<common_peg_ast_id>& nodes) {
  size_t depth = 0;
  for (const common_peg_ast_id id : nodes) depth = std::max(depth, depth_of(tree, tree.get(id).children));
  return depth + (nodes.empty() ? 0 : 1);
}

}  // namespace

struct AnswerParser::Parser {
  common_peg_arena arena;
  common_chat_format format = COMMON_CHAT_FORMAT_PEG_NATIVE;
  std::string generation_prompt;  // the parser wants to see it in front of the answer
};

AnswerParser::AnswerParser() = default;
AnswerParser::~AnswerParser() = default;

Result<std::shared_ptr<const AnswerParser>> AnswerParser::create(const common_chat_params& params) {
  std::shared_ptr<AnswerParser> parser(new AnswerParser);
  try {
    parser->parser_ = std::make_unique<Parser>();
    parser->parser_->arena.load(params.parser);
    parser->parser_->format = params.format;
    parser->parser_->generation_prompt = params.generation_prompt;
  } catch (const std::exception& error) {
    return fail(Code::kInternal, std::string("the parser of this model's answers cannot be made: ") + error.what());
  }
  return parser;
}

ParsedAnswer AnswerParser::parse(std::string_view text) const {
  ParsedAnswer answer;
  try {
    const size_t before = parser_->generation_prompt.size();
    // Lenient: an end in the middle of something is no failure. Without it an answer that ends with `<` would be one.
    common_peg_parse_context context(parser_->generation_prompt + std::string(text), COMMON_PEG_PARSE_FLAG_LENIENT);
    const common_peg_parse_result found = parser_->arena.parse(context);
    if (found.fail()) {
      answer.refused = true;
      return answer;
    }
    answer.depth = depth_of(context.ast, found.nodes);
    if (parser_->format == COMMON_CHAT_FORMAT_PEG_GEMMA4) {
      map_by_call<common_chat_peg_gemma4_mapper>(context.ast, found, answer);
    } else if (parser_->format == COMMON_CHAT_FORMAT_PEG_MINIMAX_M3) {
      map_by_call<common_chat_peg_minimax_m3_mapper>(context.ast, found, answer);
    } else {
      map_native(context.ast, found, answer);
    }
    answer.open = found.need_more_input();
    if (!answer.open) answer.covered = found.end;
    answer.covered -= std::min(answer.covered, before);
  } catch (const std::exception&) {
    answer = {};
    answer.refused = true;
  }
  return answer;
}

}  // namespace inferd::engine
