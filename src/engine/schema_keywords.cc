#include "engine/schema_keywords.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <unordered_map>
#include <utility>

namespace inferd::engine {
namespace {

using namespace std::string_view_literals;

constexpr std::array kTypes = {std::pair("null"sv, kNull),     std::pair("boolean"sv, kBoolean), std::pair("integer"sv, kInteger),
                               std::pair("number"sv, kNumber), std::pair("string"sv, kString),   std::pair("array"sv, kArray),
                               std::pair("object"sv, kObject)};

constexpr std::pair<std::string_view, Keyword> kSupported[] = {
    {"$schema", Keyword::kDialect},      {"$id", Keyword::kIdentifier},           {"$defs", Keyword::kDefinitions},
    {"definitions", Keyword::kDefinitions}, {"$ref", Keyword::kReference},        {"type", Keyword::kType},
    {"const", Keyword::kConst},          {"enum", Keyword::kEnum},                {"anyOf", Keyword::kAlternatives},
    {"allOf", Keyword::kAlternatives},   {"properties", Keyword::kProperties},    {"required", Keyword::kRequired},
    {"additionalProperties", Keyword::kAdditional}, {"items", Keyword::kItems},   {"prefixItems", Keyword::kPrefixItems},
    {"minItems", Keyword::kCount},       {"maxItems", Keyword::kCount},           {"minLength", Keyword::kCount},
    {"maxLength", Keyword::kCount},      {"pattern", Keyword::kPattern},          {"format", Keyword::kFormat},
    {"minimum", Keyword::kBound},        {"maximum", Keyword::kBound},            {"exclusiveMinimum", Keyword::kBound},
    {"exclusiveMaximum", Keyword::kBound},
};

// Of all drafts.
constexpr std::string_view kUnsupported[] = {
    "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependentRequired", "dependencies", "patternProperties", "propertyNames",
    "minProperties", "maxProperties", "unevaluatedProperties", "unevaluatedItems", "additionalItems", "contains", "minContains",
    "maxContains", "uniqueItems", "multipleOf", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary",
    "divisibleBy", "disallow", "extends",
};

constexpr std::string_view kEnforcedFormats[] = {"date", "time", "date-time", "uuid", "uuid1", "uuid2", "uuid3", "uuid4", "uuid5"};

}  // namespace

Keyword keyword_of(std::string_view name) {
  static const auto table = [] {
    std::unordered_map<std::string_view, Keyword> made(std::begin(kSupported), std::end(kSupported));
    for (const std::string_view one : kUnsupported) made.emplace(one, Keyword::kUnsupported);
    return made;
  }();
  const auto found = table.find(name);
  return found == table.end() ? Keyword::kNone : found->second;
}

unsigned schema_type(std::string_view name) {
  const auto* found = std::ranges::find(kTypes, name, &std::pair<std::string_view, SchemaType>::first);
  return found == kTypes.end() ? 0 : static_cast<unsigned>(found->second);
}

bool is_of_type(const common_json& value, unsigned types) {
  if (value.is_null()) return (types & kNull) != 0;
  if (value.is_boolean()) return (types & kBoolean) != 0;
  if (value.is_string()) return (types & kString) != 0;
  if (value.is_array()) return (types & kArray) != 0;
  if (value.is_object()) return (types & kObject) != 0;
  const bool whole = value.is_number_integer() || std::floor(value.get<double>()) == value.get<double>();
  return (types & kNumber) != 0 || (whole && (types & kInteger) != 0);
}

bool is_enforced_format(const common_json& value) {
  return value.is_string() && std::ranges::find(kEnforcedFormats, value.get<std::string>()) != std::end(kEnforcedFormats);
}

bool constrains(std::string_view name, const common_json& value) {
  switch (keyword_of(name)) {
    case Keyword::kNone: case Keyword::kUnsupported: case Keyword::kDialect: case Keyword::kIdentifier: case Keyword::kDefinitions: return false;
    case Keyword::kAdditional: return !is_json(true, value);
    case Keyword::kFormat: return is_enforced_format(value);
    default: return true;
  }
}

}  // namespace inferd::engine
