// One JSON text as a flat list of values, strict as spec 01 §2.3 wants it: UTF-8 checked, no duplicates hidden, numbers out of
// range refused, depth and number of values bounded. Decoders look fields up by name; unknown ones are skipped.
// Built by Boost.JSON's basic_parser (its own DOM hides duplicates and reads 1e400 as infinity). Any thread, one object at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace inferd::wire {

class JsonDocument;

/// A reference to one value; valid as long as its document is neither parsed again nor destroyed.
class JsonValue {
 public:
  enum class Type : uint8_t { kNull, kBool, kInteger, kUnsigned, kDouble, kString, kArray, kObject };

  Type type() const;
  bool is_null() const { return type() == Type::kNull; }
  std::string_view text() const;  // kString
  bool boolean() const;           // kBool
  int64_t integer() const;        // kInteger
  double number() const;          // kInteger, kUnsigned, kDouble
  /// True if the value is written as an integer in [0, max]; `out` is then set.
  bool unsigned_within(uint64_t max, uint64_t& out) const;

  /// Elements of an array or members of an object, in order.
  size_t size() const;
  class Iterator {
   public:
    Iterator(const JsonDocument* document, uint32_t index) : document_(document), index_(index) {}
    JsonValue operator*() const { return JsonValue(document_, index_); }
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const JsonDocument* document_;
    uint32_t index_;
  };
  Iterator begin() const;
  Iterator end() const;
  std::string_view key() const;  // of a member of an object

 private:
  friend class JsonDocument;
  JsonValue(const JsonDocument* document, uint32_t index) : document_(document), index_(index) {}
  const JsonDocument* document_;
  uint32_t index_;
};

class JsonDocument {
 public:
  static constexpr size_t kMaxValues = 1'000'000;  // a node costs 24 bytes, a value in the text as few as 2

  /// The whole of `text` must be one JSON value. Errors are kInvalidRequest and say what and where ("... at line 1 column 12").
  Status parse(std::string_view text, size_t max_values = kMaxValues);
  JsonValue root() const { return JsonValue(this, 0); }

 private:
  friend class JsonValue;
  friend struct JsonBuilder;
  struct Node {
    JsonValue::Type type;
    uint32_t key_at = 0, key_length = 0;  // in texts_
    uint32_t end = 0;                     // index behind the last value within this one
    union {
      int64_t integer;
      uint64_t natural;
      double real;
      bool boolean;
      struct {
        uint32_t at, length;  // string: in texts_; array, object: length = number of elements
      } span;
    };
  };
  std::vector<Node> nodes_;
  std::string texts_;
};

}  // namespace inferd::wire
