// One JSON text (RFC 8259) as a tree, for files that an operator writes: nothing of it is interpreted, duplicates are kept and numbers
// stay as they are written, so that an error can show them. Parsed by Boost.JSON's basic_parser. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace inferd {

struct JsonTree {
  enum class Type : uint8_t { kNull, kBool, kNumber, kText, kArray, kObject };
  Type type = Type::kNull;
  bool boolean = false;
  std::string text = {};                // of a string: its content; of a number: its literal
  std::vector<JsonTree> elements = {};  // of an array, or the values of an object's members
  std::vector<std::string> keys = {};   // of an object: as many as elements
};

/// The whole of `text` is one JSON value of at most 127 levels and 100,000 values. Errors are kIntegrity and end with the place
/// ("... at line 3 column 12").
Result<JsonTree> parse_json_tree(std::string_view text);

}  // namespace inferd
