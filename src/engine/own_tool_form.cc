#include "engine/own_tool_form.h"

#include <cctype>

#include "base/json_text.h"
#include "engine/schema_check.h"

namespace inferd::engine {
namespace {

// The rule of a text, for GBNF.
std::string literal(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + '"';
}

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_'; }

}  // namespace

std::string own_declarations(std::span<const Tool> tools, bool call_required) {
  std::string out = "# Tools\n\nYou can call these tools. Each line describes one as JSON:\n<tools>\n";
  for (const Tool& tool : tools) {
    out += "{\"name\":" + json_text(tool.name) + ",\"description\":" + json_text(tool.description) + ",\"parameters\":" + tool.input_schema + "}\n";
  }
  out += "</tools>\n\nTo call a tool, write its name and its arguments in exactly this form, and wait for the result:\n";
  out += own_call("NAME", "{\"ARGUMENT\": \"VALUE\"}");
  out += "\nThe result comes in <tool_response>.";
  out += call_required ? " Answer with a call now." : " Call a tool only if it helps to answer.";
  return out;
}

std::string own_call(std::string_view name, std::string_view arguments) {
  std::string out(kOwnCallOpen);
  out += "\n{\"name\": " + json_text(name) + ", \"arguments\": ";
  out += arguments;
  out += "}\n";
  return out += kOwnCallClose;
}

std::string own_result(std::string_view text) {
  std::string out = "<tool_response>\n";
  out += text;
  return out += "\n</tool_response>";
}

std::string with_prefix(std::string_view gbnf, std::string_view prefix) {
  std::string out;
  for (size_t at = 0; at < gbnf.size();) {
    const char c = gbnf[at];
    size_t end = at + 1;
    if (c == '"' || c == '[') {
      const char close = c == '"' ? '"' : ']';
      while (end < gbnf.size() && gbnf[end] != close) end += gbnf[end] == '\\' ? 2 : 1;
      ++end;
    } else if (c == '{') {
      while (end < gbnf.size() && gbnf[end] != '}') ++end;
    } else if (is_name(c)) {
      while (end < gbnf.size() && is_name(gbnf[end])) ++end;
      out += prefix;
    }
    out += gbnf.substr(at, end - at);
    at = end;
  }
  return out;
}

Result<std::string> own_call_grammar(std::span<const CallableTool> tools, bool single) {
  std::string choice, rules;
  for (size_t i = 0; i < tools.size(); ++i) {
    auto grammar = schema_grammar(tools[i].schema, tools[i].schema_place());
    if (!grammar) return std::unexpected(std::move(grammar.error()));
    const std::string prefix = "t" + std::to_string(i) + "-";
    choice += (i == 0 ? "" : " | ") + prefix + "call";
    rules += prefix + "call ::= \"{\" gap \"\\\"name\\\"\" gap \":\" gap " + literal(json_text(tools[i].tool->name)) +
             " gap \",\" gap \"\\\"arguments\\\"\" gap \":\" gap " + prefix + "root gap \"}\"\n";
    rules += with_prefix(*grammar, prefix);
    if (rules.back() != '\n') rules += '\n';
  }
  std::string out = single ? "root ::= call\n" : "root ::= call (gap call)*\n";
  out += "call ::= " + literal(kOwnCallOpen) + " gap (" + choice + ") gap " + literal(kOwnCallClose) + "\n";
  out += "gap ::= [ \\n]?\n";
  return out + rules;
}

}  // namespace inferd::engine
