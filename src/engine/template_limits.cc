#include "engine/template_limits.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <exception>
#include <nlohmann/json.hpp>
#include <set>

namespace inferd::engine {
namespace {

constexpr size_t kLongestName = 128;  // the library's regular expressions recurse with each letter

// As the library names its rules: all but letters and digits of ASCII become one dash.
std::string rule_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-') {
      out += c;
    } else if (out.empty() || out.back() != '-') {
      out += '-';
    }
  }
  return out;
}

}  // namespace

bool names_stay_apart(std::span<const CallableTool> tools) {
  // Rules `tool-` and this: a tool of that name would call itself without end.
  static constexpr std::array<std::string_view, 4> kTaken = {"call", "calls", "call-root", "call-first"};
  std::set<std::string> rules;
  for (const CallableTool& callable : tools) {
    const std::string& name = callable.tool->name;
    const std::string rule = rule_name(name);
    if (name.empty() || name.size() > kLongestName || std::ranges::find(kTaken, rule) != kTaken.end()) return false;
    if (!rules.insert(rule).second) return false;
  }
  // A tool's own rules are its name and `-arg-...`, `-args-...`, `-schema...`.
  for (const std::string& rule : rules) {
    for (const char* of_tool : {"-arg", "-schema"}) {
      const auto next = rules.lower_bound(rule + of_tool);
      if (next != rules.end() && next->starts_with(rule + of_tool)) return false;
    }
  }
  return true;
}

bool is_written_by_argument(std::string_view parser) { return parser.find("\"tool-arg-name\"") != std::string_view::npos; }

bool arguments_stay_apart(std::span<const std::string> schemas) {
  for (const std::string& text : schemas) {
    try {
      const auto schema = nlohmann::json::parse(text);
      const auto properties = schema.find("properties");
      if (properties == schema.end() || !properties->is_object()) return false;
      if (schema.contains("additionalProperties") && schema["additionalProperties"] != false) return false;
      std::set<std::string> rules;
      for (const auto& [name, property] : properties->items()) {
        if (name.empty() || name.size() > kLongestName || !rules.insert(rule_name(name)).second) return false;
      }
    } catch (const std::exception&) {
      return false;
    }
  }
  return true;
}

}  // namespace inferd::engine
