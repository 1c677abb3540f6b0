#include "engine/own_tool_answer.h"

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/own_tool_form.h"

namespace inferd::engine {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

bool is_space(char c) { return kSpace.find(c) != std::string_view::npos; }

}  // namespace

OwnToolAnswer::OwnToolAnswer(std::unique_ptr<AnswerStream> text, std::set<std::string> names, CallIds ids)
    : text_(std::move(text)), names_(std::move(names)), ids_(std::move(ids)) {}

bool OwnToolAnswer::push(std::string_view bytes, std::vector<Piece>& out) {
  std::vector<Piece> pieces;
  const bool stopped = text_->push(bytes, pieces);
  read(pieces, out);
  return stopped;
}

Status OwnToolAnswer::finish(bool ended, std::vector<Piece>& out) {
  std::vector<Piece> pieces;
  const auto finished = text_->finish(ended, pieces);
  read(pieces, out);
  if (in_call_) {
    // The budget may end before the closing mark: a whole object is a whole call.
    const bool whole = !ended && object_end_.state() == ObjectEnd::State::kBehind && send_call(out);
    malformed_ = malformed_ || (ended && !whole);
  } else if (!malformed_) {
    add_plain(std::exchange(held_, {}), out);
    if (!has_calls_) add_text(out, Piece::Kind::kText, std::exchange(space_, {}));
  }
  if (malformed_) return malformed_call("it is no <tool_call> with a declared name and an object of arguments");
  return finished;
}

void OwnToolAnswer::read(std::vector<Piece>& pieces, std::vector<Piece>& out) {
  for (Piece& piece : pieces) {
    if (piece.kind == Piece::Kind::kText) {
      read_text(piece.text, out);
    } else {
      if (!in_call_) add_plain(std::exchange(held_, {}), out);  // a mark is never cut by thinking
      add_text(out, piece.kind, piece.text);
    }
  }
}

void OwnToolAnswer::read_text(std::string_view text, std::vector<Piece>& out) {
  while (!text.empty() && !malformed_) text.remove_prefix(in_call_ ? read_call(text, out) : read_plain(text, out));
}

// Up to a call, or all. Returns the bytes that it took.
size_t OwnToolAnswer::read_plain(std::string_view text, std::vector<Piece>& out) {
  const size_t before = held_.size();
  held_ += text;
  const size_t open = held_.find(kOwnCallOpen);
  if (open != std::string::npos) {
    add_plain(std::string_view(held_).substr(0, open), out);
    held_.clear();
    space_.clear();
    in_text_ = false;
    in_call_ = true;
    object_.clear();
    object_end_ = {};
    behind_.clear();
    return open + kOwnCallOpen.size() - before;
  }
  size_t keep = std::min(held_.size(), kOwnCallOpen.size() - 1);
  while (!held_.ends_with(kOwnCallOpen.substr(0, keep))) --keep;
  add_plain(std::string_view(held_).substr(0, held_.size() - keep), out);
  held_.erase(0, held_.size() - keep);
  return text.size();
}

void OwnToolAnswer::add_plain(std::string_view text, std::vector<Piece>& out) {
  if (!in_text_) {
    space_ += text;
    if (std::ranges::all_of(space_, is_space)) return;
    in_text_ = true;
    text = space_;
  }
  add_text(out, Piece::Kind::kText, text);
  space_.clear();
}

size_t OwnToolAnswer::read_call(std::string_view text, std::vector<Piece>& out) {
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (object_end_.state() != ObjectEnd::State::kBehind) {
      const auto state = object_end_.add(c);
      malformed_ = state == ObjectEnd::State::kWrong;
      if (state != ObjectEnd::State::kBefore) object_ += c;
    } else if (!behind_.empty() || !is_space(c)) {
      behind_ += c;
      malformed_ = !kOwnCallClose.starts_with(behind_);
    }
    if (malformed_) return text.size();
    if (behind_ == kOwnCallClose) {
      end_call(out);
      return at + 1;
    }
  }
  return text.size();
}

void OwnToolAnswer::end_call(std::vector<Piece>& out) {
  in_call_ = false;
  malformed_ = !send_call(out);
}

bool OwnToolAnswer::send_call(std::vector<Piece>& out) {
  try {
    const auto call = nlohmann::json::parse(object_);  // ObjectEnd has bounded its depth
    const auto name = call.find("name"), arguments = call.find("arguments");
    if (name == call.end() || !name->is_string() || arguments == call.end() || !arguments->is_object()) return false;
    if (!names_.contains(name->get<std::string>())) return false;
    out.push_back(Piece{.kind = Piece::Kind::kToolCall, .text = {}, .call = {ids_.next(), name->get<std::string>(), arguments->dump()}});
  } catch (const std::exception&) {
    return false;
  }
  has_calls_ = true;
  return true;
}

OwnToolAnswer::ObjectEnd::State OwnToolAnswer::ObjectEnd::add(char c) {
  if (state_ == State::kBefore) {
    if (c == '{') {
      state_ = State::kInside;
      depth_ = 1;
    } else if (!is_space(c)) {
      state_ = State::kWrong;
    }
  } else if (in_string_) {
    in_string_ = escaped_ || c != '"';
    escaped_ = !escaped_ && c == '\\';
  } else if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    if (++depth_ > kMaxCallNesting) state_ = State::kWrong;
  } else if (c == '}' || c == ']') {
    if (--depth_ == 0) state_ = State::kBehind;
  }
  return state_;
}

}  // namespace inferd::engine
