// The compact text of a JSON value whose shape is the caller's affair: the schema of a tool, the input of a call. Any thread.
#pragma once

#include <string>

#include "wire/json_document.h"

namespace inferd::wire {

/// Appends `value`; with `sort_keys` the keys of every object in it are sorted by their bytes, else they keep their order.
/// A key that an object has twice is written once, at its first place with its last value, as serde and most readers take it: only
/// fields that a codec knows are an error when doubled (spec 01 §2.3). Integers are exact; other numbers are the shortest text of
/// their double. False if a number is beyond a double (1e400, an error by spec 01 §2.3): `null` stands in its place.
bool append_json_value(std::string& out, JsonValue value, bool sort_keys);

}  // namespace inferd::wire
