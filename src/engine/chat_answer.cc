#include "engine/chat_answer.h"

#include <algorithm>
#include <utility>

namespace inferd::engine {
namespace {

// The parser takes 4 KiB of stack for a bracket that nests: at most kDeepestTree nodes that it was seen to find, and kMostNewBrackets that it
// has not been seen to find. Then it is asked again whatever the time is, or never.
constexpr size_t kDeepestTree = 640;
constexpr size_t kBracketsPerParse = 256, kMostNewBrackets = 512;

constexpr std::string_view kSpace = " \t\r\n";

std::string_view without_space_before(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text;
}

std::string_view without_space_behind(std::string_view text) { return text.substr(0, text.find_last_not_of(kSpace) + 1); }

// What a client is to see of a part. It only grows while the part does.
std::string_view visible(const std::vector<AnswerPart>& parts, size_t at, bool last) {
  const std::string_view text = parts[at].text;
  if (parts[at].kind == Piece::Kind::kThinking) return without_space_behind(without_space_before(text));
  const std::string_view begun = without_space_before(text);
  // White space alone stands between the template's marks, unless it is all that there is.
  if (begun.empty()) return last && parts.size() == 1 ? text : begun;
  return at > 0 && parts[at - 1].kind == Piece::Kind::kThinking ? begun : text;
}

size_t common_prefix(std::string_view a, std::string_view b) {
  size_t common = static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
  while (common > 0 && common < b.size() && (static_cast<unsigned char>(b[common]) & 0xC0U) == 0x80) --common;
  return common;
}

}  // namespace

ChatAnswer::ChatAnswer(Options options) : options_(std::move(options)), caller_stops_(options_.stop), turn_stops_(options_.turn_ends) {}

bool ChatAnswer::push(std::string_view bytes, std::vector<Piece>& out) {
  std::string before, text;
  turn_end_ = turn_stops_.push(bytes, before);
  stopped_ = caller_stops_.push(before, text);
  if (stopped_) {
    turn_end_ = false;  // the caller's comes first
  } else if (turn_end_) {
    caller_stops_.finish(text);
    stopped_ = true;
  }
  add(text);
  if (!text.empty() && is_parse_due() && parse()) send(parsed_, false, out);
  return stopped_;
}

void ChatAnswer::add(std::string_view text) {
  text_ += text;
  brackets_ += static_cast<size_t>(std::ranges::count_if(text, [](char c) { return c == '[' || c == '{'; }));
}

bool ChatAnswer::is_parse_due() {
  const auto now = Clock::now();
  if (!started_) first_ = now;
  started_ = true;
  const bool in_time = std::chrono::duration<double>(spent_) <= options_.parse_share * std::chrono::duration<double>(now - first_);
  return !unreadable_ && (in_time || brackets_ >= kBracketsPerParse);
}

// True: parsed_ is that of all that has come.
bool ChatAnswer::parse() {
  if (brackets_ > kMostNewBrackets) unreadable_ = true;
  if (unreadable_) return false;
  const auto begin = Clock::now();
  ParsedAnswer answer = options_.parse(text_);
  spent_ += Clock::now() - begin;
  if (answer.refused) return false;
  brackets_ = 0;
  unreadable_ = answer.depth > kDeepestTree;
  parsed_ = std::move(answer);
  return true;
}

// `last`: nothing follows.
void ChatAnswer::send(const ParsedAnswer& answer, bool last, std::vector<Piece>& out) {
  for (size_t at = 0; at < answer.parts.size() && !malformed_; ++at) {
    const AnswerPart& part = answer.parts[at];
    const bool closed = last || at + 1 < answer.parts.size();
    if (part.kind == Piece::Kind::kToolCall) {
      if (at < sent_.size()) continue;
      if (!closed || !send_call(part, out)) return;
      sent_.push_back({part.kind, {}});
    } else {
      const std::string_view text = visible(answer.parts, at, last);
      if (at == sent_.size()) {
        if (text.empty() && !closed) return;
        sent_.push_back({part.kind, {}});
      }
      send_text(sent_[at], part.kind, text, out);
    }
  }
}

bool ChatAnswer::send_call(const AnswerPart& part, std::vector<Piece>& out) {
  auto input = call_arguments(part.arguments);
  malformed_ = !input || part.name.empty();
  if (malformed_) return false;
  out.push_back(Piece{.kind = Piece::Kind::kToolCall, .text = {}, .call = {options_.ids.next(), part.name, std::move(*input)}});
  has_calls_ = true;
  return true;
}

// What was sent stays sent: where the parser has changed its mind, its new text goes on behind what both have in common.
void ChatAnswer::send_text(Sent& sent, Piece::Kind kind, std::string_view text, std::vector<Piece>& out) {
  if (sent.kind == Piece::Kind::kToolCall || sent.text.size() >= text.size()) return;
  add_text(out, kind, text.substr(common_prefix(sent.text, text)));
  sent = {kind, std::string(text)};
}

Status ChatAnswer::finish(bool ended, std::vector<Piece>& out) {
  if (!stopped_) {
    std::string before, text;
    turn_stops_.finish(before);
    if (!caller_stops_.push(before, text)) caller_stops_.finish(text);
    add(text);
  }
  parse();  // else what could be read before stands, and the rest is as the model wrote it
  ParsedAnswer answer = std::move(parsed_);
  const std::string_view rest = std::string_view(text_).substr(std::min(answer.covered, text_.size()));
  const bool in_call = !answer.parts.empty() && answer.parts.back().kind == Piece::Kind::kToolCall && answer.open;
  const bool rest_is_call = holds_opener(rest);
  if (!in_call && !rest_is_call) {
    add_rest(answer, rest, ended);
  } else if (ended) {
    malformed_ = true;  // after what could be read
  }
  if (in_call && (ended || !call_arguments(answer.parts.back().arguments))) answer.parts.pop_back();  // never half a call
  const bool was_malformed = std::exchange(malformed_, false);
  send(answer, true, out);
  if (malformed_ || was_malformed) return malformed_call("it is not in the form of the model's chat template");
  return {};
}

// What was held back because it could have become something else, and what the parser refused.
void ChatAnswer::add_rest(ParsedAnswer& answer, std::string_view rest, bool ended) const {
  const size_t length = rest.size();
  for (bool again = true; again;) {
    again = false;
    for (const std::string& mark : options_.marks) {
      const std::string_view begun = without_space_before(rest);
      if (mark.empty() || !begun.starts_with(mark)) continue;
      rest = begun.substr(mark.size());
      again = true;
    }
  }
  const bool behind_mark = rest.size() < length;
  const auto begins = [&](const std::string& mark) { return mark.starts_with(without_space_before(rest)); };
  if (!ended && (std::ranges::any_of(options_.marks, begins) || std::ranges::any_of(options_.call_openers, begins))) return;
  if (rest.empty()) return;
  const bool thinking = !answer.parts.empty() && answer.parts.back().kind == Piece::Kind::kThinking && answer.open && !behind_mark;
  const auto kind = thinking ? Piece::Kind::kThinking : Piece::Kind::kText;
  if (answer.parts.empty() || answer.parts.back().kind != kind) answer.parts.push_back({.kind = kind, .text = {}, .name = {}, .arguments = {}});
  answer.parts.back().text += rest;
}

bool ChatAnswer::holds_opener(std::string_view text) const {
  return std::ranges::any_of(options_.call_openers, [&](const std::string& opener) { return text.find(opener) != std::string_view::npos; });
}

}  // namespace inferd::engine
