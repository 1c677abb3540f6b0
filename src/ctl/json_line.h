// One JSON object on a line of standard output: what the store's commands write with --json. Main thread; owns its text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace inferd::ctl {

class JsonLine {
 public:
  JsonLine& text(std::string_view name, std::string_view value);  // what is no UTF-8 in it becomes U+FFFD
  JsonLine& number(std::string_view name, std::optional<uint64_t> value);  // nothing: null
  JsonLine& flag(std::string_view name, bool value);
  JsonLine& json(std::string_view name, std::string_view value);  // JSON text without a line end
  /// Writes the line at once: whoever reads a pipe sees it while the work goes on.
  void print();

 private:
  std::string line_;
};

}  // namespace inferd::ctl
