#include "engine/schema_check.h"

#include <json-schema-to-grammar.h>
#include <json-schema.h>
#include <json.h>

#include <array>
#include <cstddef>
#include <exception>
#include <utility>

#include "base/utf8.h"
#include "engine/grammar_limits.h"
#include "engine/schema_graph.h"
#include "engine/schema_tree.h"

namespace inferd::engine {
namespace {

constexpr size_t kMaxBytes = 65'536;
constexpr size_t kMaxDepth = 64;    // nested arrays and objects
constexpr size_t kMaxReason = 200;  // the parser quotes what it could not read

// Before the parser builds a tree of it: that is slow for many members and copied by recursion.
Status check_size(const SchemaText& schema) {
  const auto refuse = [&](const std::string& why) { return fail(Code::kInvalidRequest, schema.where + ": " + why); };
  if (schema.json.size() > kMaxBytes) {
    return refuse(std::to_string(schema.json.size()) + " bytes, at most " + std::to_string(kMaxBytes) + " are allowed");
  }
  size_t depth = 0;
  bool in_text = false;
  for (size_t at = 0; at < schema.json.size(); ++at) {
    const char c = schema.json[at];
    if (in_text) {
      if (c == '\\') ++at;
      in_text = c != '"';
    } else if (c == '"') {
      in_text = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return refuse("more than " + std::to_string(kMaxDepth) + " nested arrays and objects");
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return {};
}

Result<std::string> enforceable_schema(const SchemaText& schema, ReferenceNames& names) {
  if (auto small = check_size(schema); !small) return std::unexpected(std::move(small.error()));
  try {
    common_json root = common_json::parse(std::string(schema.json));
    SchemaTree tree(schema.where);
    if (auto read = tree.read(root); !read) return std::unexpected(std::move(read.error()));
    if (auto sound = check_graph(tree, names); !sound) return std::unexpected(std::move(sound.error()));
    return tree.apply_edits() ? root.dump() : std::string(schema.json);
  } catch (const std::exception& error) {
    return fail(Code::kInvalidRequest, schema.where + ": cannot be read: " + std::string(cut_utf8(error.what(), kMaxReason)));
  }
}

}  // namespace

Result<std::vector<std::string>> enforceable_schemas(std::span<const SchemaText> schemas) {
  ReferenceNames names;
  std::vector<std::string> texts;
  for (const SchemaText& schema : schemas) {
    auto text = enforceable_schema(schema, names);
    if (!text) return std::unexpected(std::move(text.error()));
    texts.push_back(std::move(*text));
  }
  if (auto sound = names.check(); !sound) return std::unexpected(std::move(sound.error()));
  return texts;
}

Result<std::string> schema_grammar(std::string_view json_text, std::string_view where) {
  const SchemaText schema{json_text, std::string(where)};
  auto texts = enforceable_schemas({&schema, 1});
  if (!texts) return std::unexpected(std::move(texts.error()));
  std::string grammar;
  try {
    const common_chat_schema_document document = common_chat_schema_from_json(common_json::parse(texts->front()));
    grammar = build_grammar([&](const common_grammar_builder& builder) {
      // Not as the root itself: the names of its properties could then be those of the converter's own rules.
      builder.add_rule("root", builder.add_schema("answer", *document.root));
    });
  } catch (const std::exception& error) {
    return fail(Code::kInvalidRequest, schema.where + ": no grammar can be made of it: " + error.what());
  }
  grammar = sound_grammar(std::move(grammar));
  if (auto within = check_grammar_limits(grammar); !within) {
    return fail(Code::kInvalidRequest, schema.where + ": too large, its " + within.error().message);
  }
  return grammar;
}

Status check_schema(std::string_view json_text, std::string_view where) {
  auto grammar = schema_grammar(json_text, where);
  return grammar ? Status() : std::unexpected(std::move(grammar.error()));
}

std::string sound_grammar(std::string gbnf) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kMended = {{
      {R"gbnf(char ::= [^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4}))gbnf",
       R"gbnf(char ::= [^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" ([0-9a-cefA-CEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2})))gbnf"},
      {R"gbnf(number ::= ("-"? integral-part) ("." decimal-part)? ([eE] [-+]? integral-part)?)gbnf",
       R"gbnf(number ::= ("-"? integral-part) ("." decimal-part)? ([eE] [-+]? [0-9] [0-9]?)?)gbnf"},
      // U+2028 and U+2029 end a line, which a dot does not match either.
      {R"gbnf(dot ::= [^\x0A\x0D])gbnf", R"gbnf(dot ::= [^"\\\x00-\x1F\u2028\u2029])gbnf"},
  }};
  for (const auto& [given, mended] : kMended) {
    const auto is_line = [&](size_t at) {
      const size_t end = at + given.size();
      return (at == 0 || gbnf[at - 1] == '\n') && (end == gbnf.size() || gbnf[end] == '\n');
    };
    size_t at = gbnf.find(given);
    while (at != std::string::npos && !is_line(at)) at = gbnf.find(given, at + 1);
    if (at != std::string::npos) gbnf.replace(at, given.size(), mended);
  }
  return gbnf;
}

}  // namespace inferd::engine
