// Reaches a member of a struct through untyped pointers, so that one table can describe the fields of many structs: the reader of the
// config file sets through it, the merge with the command line copies through it, the printer gets through it. Pure; any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace inferd {

enum class FieldType : uint8_t { kBool, kInteger, kText, kTextList, kObject, kEntries };

/// The value of a scalar or of a list; monostate: not set.
using FieldValue = std::variant<std::monostate, bool, int64_t, std::string, std::vector<std::string>>;

/// One member. `owner` is always the address of an object of the struct that the member belongs to.
struct Binding {
  FieldType type = FieldType::kText;
  void (*set)(void* owner, const FieldValue& value) = nullptr;  // the value has the type `type`
  FieldValue (*get)(const void* owner) = nullptr;
  void* (*open)(void* owner) = nullptr;              // kObject: the object's address; an optional one is made
  const void* (*find)(const void* owner) = nullptr;  // kObject: its address, or null if it is optional and absent
};

namespace binding_detail {

template <class Owner, class Value>
Owner owner_of(Value Owner::*);
template <class Owner, class Value>
Value value_of(Value Owner::*);

template <class T>
struct Unwrap {
  using Type = T;
  static constexpr bool kOptional = false;
};
template <class T>
struct Unwrap<std::optional<T>> {
  using Type = T;
  static constexpr bool kOptional = true;
};

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

template <class T>
constexpr FieldType type_of() {
  if constexpr (std::is_same_v<T, bool>) return FieldType::kBool;
  else if constexpr (std::is_integral_v<T>) return FieldType::kInteger;
  else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::filesystem::path>) return FieldType::kText;
  else if constexpr (std::is_same_v<T, std::vector<std::string>>) return FieldType::kTextList;
  else if constexpr (IsVector<T>::value) return FieldType::kEntries;
  else return FieldType::kObject;
}

template <class T>
T from_field(const FieldValue& value) {
  if constexpr (std::is_same_v<T, bool>) return std::get<bool>(value);
  else if constexpr (std::is_integral_v<T>) return static_cast<T>(std::get<int64_t>(value));
  else if constexpr (std::is_same_v<T, std::filesystem::path>) return std::filesystem::path(std::get<std::string>(value));
  else return std::get<T>(value);
}

template <class T>
FieldValue to_field(const T& value) {
  if constexpr (std::is_same_v<T, bool>) return value;
  else if constexpr (std::is_unsigned_v<T>) {
    return static_cast<int64_t>(std::min<uint64_t>(value, static_cast<uint64_t>(std::numeric_limits<int64_t>::max())));
  } else if constexpr (std::is_integral_v<T>) return static_cast<int64_t>(value);
  else if constexpr (std::is_same_v<T, std::filesystem::path>) return value.string();
  else return value;
}

}  // namespace binding_detail

/// The binding of a member: member<&LlamacppEntry::n_ctx>(). An optional member is "not set" when it is empty.
template <auto Member>
constexpr Binding member() {
  using Owner = decltype(binding_detail::owner_of(Member));
  using Value = decltype(binding_detail::value_of(Member));
  using Unwrap = binding_detail::Unwrap<Value>;
  using Plain = typename Unwrap::Type;
  constexpr FieldType kType = binding_detail::type_of<Plain>();
  Binding binding;
  binding.type = kType;
  if constexpr (kType == FieldType::kObject) {
    binding.open = [](void* owner) -> void* {
      auto& value = static_cast<Owner*>(owner)->*Member;
      if constexpr (Unwrap::kOptional) return &(value ? *value : value.emplace());
      else return &value;
    };
    binding.find = [](const void* owner) -> const void* {
      const auto& value = static_cast<const Owner*>(owner)->*Member;
      if constexpr (Unwrap::kOptional) return value ? &*value : nullptr;
      else return &value;
    };
  } else if constexpr (kType != FieldType::kEntries) {
    binding.set = [](void* owner, const FieldValue& value) {
      static_cast<Owner*>(owner)->*Member = binding_detail::from_field<Plain>(value);
    };
    binding.get = [](const void* owner) -> FieldValue {
      const auto& value = static_cast<const Owner*>(owner)->*Member;
      if constexpr (Unwrap::kOptional) return value ? binding_detail::to_field<Plain>(*value) : FieldValue();
      else return binding_detail::to_field<Plain>(value);
    };
  }
  return binding;
}

}  // namespace inferd
