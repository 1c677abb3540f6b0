#include "ctl/json_line.h"

#include <cstdio>

#include "base/json_text.h"
#include "base/utf8.h"

namespace inferd::ctl {

JsonLine& JsonLine::json(std::string_view name, std::string_view value) {
  line_ += line_.empty() ? '{' : ',';
  append_json_text(line_, name);
  line_ += ':';
  line_ += value;
  return *this;
}

JsonLine& JsonLine::text(std::string_view name, std::string_view value) { return json(name, json_text(to_valid_utf8(value))); }

JsonLine& JsonLine::number(std::string_view name, std::optional<uint64_t> value) {
  return json(name, value ? std::to_string(*value) : "null");
}

JsonLine& JsonLine::flag(std::string_view name, bool value) { return json(name, value ? "true" : "false"); }

void JsonLine::print() {
  std::printf("%s}\n", line_.c_str());
  std::fflush(stdout);
}

}  // namespace inferd::ctl
