// Writes the members of one JSON object in the order of the calls, compact. Used by the codecs for what has many optional members.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json_text.h"

namespace inferd::wire {

class JsonObjectWriter {
 public:
  explicit JsonObjectWriter(std::string& out) : out_(out) { out_ += '{'; }

  /// After it the caller appends the member's value to the string returned.
  std::string& key(std::string_view name) {
    if (out_.back() != '{') out_ += ',';
    append_json_text(out_, name);
    out_ += ':';
    return out_;
  }
  void text(std::string_view name, std::string_view value) { append_json_text(key(name), value); }
  void natural(std::string_view name, uint64_t value) { append_json_number(key(name), value); }
  void real(std::string_view name, double value) { append_json_number(key(name), value); }
  void flag(std::string_view name, bool value) { key(name) += value ? "true" : "false"; }
  void end() { out_ += '}'; }

 private:
  std::string& out_;
};

}  // namespace inferd::wire
