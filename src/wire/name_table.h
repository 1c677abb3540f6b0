// Enums and their names on a wire, as arrays of {value, name}. Used by every codec. Pure functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace inferd::wire {

/// Empty for a value that has no name.
template <class Table, class Value>
constexpr std::string_view name_of(const Table& table, Value value) {
  for (const auto& [known, name] : table) {
    if (known == value) return name;
  }
  return {};
}

/// Names are case-sensitive and exact (spec 01 §2.3).
template <class Table>
constexpr std::optional<typename Table::value_type::first_type> value_of(const Table& table, std::string_view text) {
  for (const auto& [value, name] : table) {
    if (name == text) return value;
  }
  return std::nullopt;
}

/// serde's wording, which people who debug clients of the published daemon know.
template <class Table>
std::string unknown_variant(const std::string& path, const Table& table, std::string_view text) {
  std::string message = "field `" + path + "`: unknown variant `" + std::string(cut_utf8(text, 64)) + "`, expected one of ";
  for (const auto& [value, name] : table) message += (value == table.front().first ? "`" : ", `") + std::string(name) + "`";
  return message;
}

}  // namespace inferd::wire
