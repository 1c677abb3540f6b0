// Little-endian fields, one after another: the byte form of every engine message. Reading is bounds-checked: a short or overlong
// message is an error, never a crash. Any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace inferd::engine_wire {

static_assert(std::endian::native == std::endian::little, "fields are copied as they stand in memory");

class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}

  template <class T>
    requires std::is_arithmetic_v<T>
  void put(T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    out_.append(raw, sizeof(T));
  }
  void put_text(std::string_view text) {
    put(static_cast<uint32_t>(text.size()));
    out_.append(text);
  }

 private:
  std::string& out_;
};

class ByteReader {
 public:
  explicit ByteReader(std::string_view in) : in_(in) {}

  template <class T>
    requires std::is_arithmetic_v<T>
  T get() {
    T value{};
    if (in_.size() < sizeof(T)) {
      ok_ = false;
      in_ = {};
      return value;
    }
    std::memcpy(&value, in_.data(), sizeof(T));
    in_.remove_prefix(sizeof(T));
    return value;
  }
  std::string_view get_text() {
    const auto length = get<uint32_t>();
    if (in_.size() < length) {
      ok_ = false;
      in_ = {};
      return {};
    }
    const auto text = in_.substr(0, length);
    in_.remove_prefix(length);
    return text;
  }
  /// For counts of elements that take at least one byte each.
  uint32_t get_count() {
    const auto count = get<uint32_t>();
    if (count > in_.size()) ok_ = false;
    return ok_ ? count : 0;
  }
  bool complete() const { return ok_ && in_.empty(); }

 private:
  std::string_view in_;
  bool ok_ = true;
};

}  // namespace inferd::engine_wire
