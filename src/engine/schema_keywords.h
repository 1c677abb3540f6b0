// The keywords of JSON Schema, and what each is to us (doc/json-schema.md). schema_tree reads schemas by it. Pure; any thread.
#pragma once

#include <json.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace inferd::engine {

/// The types of JSON Schema as bits.
enum SchemaType : unsigned {
  kNull = 1, kBoolean = 2, kInteger = 4, kNumber = 8, kString = 16, kArray = 32, kObject = 64,
  kAnyType = 127,
};

enum class Keyword : uint8_t {
  kNone,         // an annotation, or a name that JSON Schema does not know: it constrains nothing
  kUnsupported,  // it constrains, and llama.cpp's converter ignores it
  kDialect, kIdentifier, kDefinitions, kReference, kType, kConst, kEnum, kAlternatives, kProperties, kRequired, kAdditional, kItems,
  kPrefixItems, kCount, kPattern, kFormat, kBound,
};

Keyword keyword_of(std::string_view name);

/// The bit of a type's name; 0 if there is no such type.
unsigned schema_type(std::string_view name);

bool is_of_type(const common_json& value, unsigned types);

/// Whether the converter has a rule for this "format". Others are annotations, as JSON Schema 2020-12 has them.
bool is_enforced_format(const common_json& value);

/// Whether a member of a schema excludes values.
bool constrains(std::string_view name, const common_json& value);

inline bool is_json(bool expected, const common_json& value) { return value.is_boolean() && value.get<bool>() == expected; }

}  // namespace inferd::engine
