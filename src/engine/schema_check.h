// JSON Schemas that an answer has to conform to (doc/json-schema.md). llama.cpp's converter from schema to grammar ignores keywords without a
// word and turns some into others, so a schema is walked first: it holds, or it is refused with the JSON pointer of what would not.
// Prepare threads call this, before a request is admitted. Pure; hostile schemas are bounded in size, depth and work.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace inferd::engine {

/// A schema as a request brings it, and where it stood there: "response_format: schema". Errors begin with that.
struct SchemaText {
  std::string_view json;
  std::string where;
};

/// kInvalidRequest: `where: /properties/a/not: keyword "not" is not supported`. The pointer is left out for the schema as a whole.
Status check_schema(std::string_view json_text, std::string_view where);

/// A GBNF grammar, within check_grammar_limits, whose every text is JSON that conforms to the schema. Errors as of check_schema.
Result<std::string> schema_grammar(std::string_view json_text, std::string_view where);

/// Schemas that share one grammar, as those of a request's tools do: the text of each as the converter holds it, in the same order. That is
/// the given text, but for `"additionalProperties": true` beside properties and `"items": false` beside prefixItems, which are taken out,
/// and the second bound that an integer gets whose only bound the converter gets wrong. Errors as of check_schema; besides, two schemas
/// may not use one reference for two things.
Result<std::vector<std::string>> enforceable_schemas(std::span<const SchemaText> schemas);

/// `gbnf` from llama-common, of a schema or of a chat template's tools, with its rules for characters and numbers mended: no half surrogate
/// pairs (\ud83d), no numbers beyond a double (1e400), and no quote or backslash for the dot of a pattern.
std::string sound_grammar(std::string gbnf);

}  // namespace inferd::engine
