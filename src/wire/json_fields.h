// Reads the fields of one JSON object by name with the strictness of spec 01 §2.3: a wrong type, a missing or a doubled field is
// an error that names the field's path; unknown fields are skipped. Used by every codec.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "wire/json_document.h"

namespace inferd::wire {

/// The names of `shared`, which thereby have the same places in every list, and behind them those of `own`.
template <size_t kShared, size_t kOwn>
constexpr auto field_names(const std::array<std::string_view, kShared>& shared, const std::array<std::string_view, kOwn>& own) {
  std::array<std::string_view, kShared + kOwn> names;
  for (size_t i = 0; i < kShared; ++i) names[i] = shared[i];
  for (size_t i = 0; i < kOwn; ++i) names[kShared + i] = own[i];
  return names;
}

class JsonFields {
 public:
  /// `path` is where the object stands, for errors: "" or "messages[0]". `known` are its fields' names.
  static Result<JsonFields> of(JsonValue object, std::string path, std::span<const std::string_view> known);

  /// The member with the number `field` in the list of known names, or nothing.
  const std::optional<JsonValue>& find(size_t field) const { return values_[field]; }

  // Each takes the number of a known name; `null` counts as absent for optional scalars. False after an error was stored in error(); an
  // absent optional field leaves `out` alone.
  bool text(size_t field, std::string& out, bool required);  // null is an error
  bool optional_text(size_t field, std::optional<std::string>& out);
  bool texts(size_t field, std::vector<std::string>& out, bool required);  // an array of strings; null is an error if required
  bool number(size_t field, std::optional<double>& out);
  bool unsigned_number(size_t field, uint64_t max, std::optional<uint64_t>& out);
  bool u32(size_t field, std::optional<uint32_t>& out);
  bool required_u32(size_t field, uint32_t& out);
  bool boolean(size_t field, bool& out);
  std::optional<JsonValue> array(size_t field, bool required);  // null is an error

  bool ok() const { return !error_; }
  const Error& error() const { return *error_; }
  bool wrong(std::string_view name, std::string_view expected);  // stores an error; always false
  bool missing(size_t field);
  std::string path_of(size_t field) const { return path_of(known_[field]); }
  std::string path_of(std::string_view name) const;

 private:
  explicit JsonFields(std::string path) : path_(std::move(path)) {}
  static constexpr size_t kMaxKnown = 24;
  std::string path_;
  std::span<const std::string_view> known_;
  std::array<std::optional<JsonValue>, kMaxKnown> values_;
  std::optional<Error> error_;
};

}  // namespace inferd::wire
