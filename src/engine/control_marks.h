// Keeps the text of callers apart from a chat template's own while both are rendered to one string. Where a caller's text holds that of a
// control token, or stands an attachment, a private mark that nobody can guess takes its place; the rendered prompt is split at the marks
// again. Prepare threads; one object a request.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace inferd::engine {

class ControlMarks {
 public:
  /// `controls`: the texts of the tokens that only the template may produce, longest first. They outlive this.
  explicit ControlMarks(const std::vector<std::string>& controls);

  /// `text` with a mark for each control text in it.
  std::string protect(std::string_view text);
  /// The same in all strings of a JSON text, those of keys too; keys keep their order. kInvalidRequest: `what`
  /// is no JSON, or its objects have too many members.
  Result<std::string> protect_json(std::string_view json, std::string_view what);
  bool holds_control(std::string_view text) const;
  /// A mark for something that is no text; split() gives `number` back.
  std::string mark(size_t number);

  struct Part {
    std::string_view text;
    bool from_template = true;     // may hold control tokens
    std::optional<size_t> number;  // of mark(); no text then
  };
  /// The parts of what was rendered, in order. They refer to `rendered` and to this.
  std::vector<Part> split(std::string_view rendered) const;
  /// How many marks have been made.
  size_t size() const { return marked_.size(); }

 private:
  struct Marked {
    std::string_view control;
    size_t number = 0;
  };
  const std::string* control_at(std::string_view text, size_t at) const;
  std::string mark_for(Marked marked);

  const std::vector<std::string>& controls_;
  const std::string mark_;
  std::array<bool, 256> begins_{};  // the first bytes of controls
  std::vector<Marked> marked_;
};

}  // namespace inferd::engine
