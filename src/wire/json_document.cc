#include "wire/json_document.h"

#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <cstdlib>

#include "request/limits.h"

namespace inferd::wire {

namespace json = boost::json;

namespace {
constexpr size_t kKeepCapacity = 64 * 1024;
}  // namespace

// The handler of basic_parser. A false return stops the parser with the error that was set.
struct JsonBuilder {
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);

  JsonDocument& document;
  const size_t max_values;
  std::vector<uint32_t> open = {};  // arrays and objects that have not ended
  uint32_t key_at = 0, key_length = 0;
  size_t string_at = 0;
  bool in_string = false;
  const char* refused = nullptr;  // our own reason

  using error_code = boost::system::error_code;
  using string_view = json::string_view;

  bool refuse(const char* why, error_code& error) {
    refused = why;
    error = json::error::syntax;
    return false;
  }
  JsonDocument::Node* add(JsonValue::Type type, error_code& error) {
    if (document.nodes_.size() >= max_values) {
      refuse("too many values", error);
      return nullptr;
    }
    auto& node = document.nodes_.emplace_back();
    node.type = type;
    node.key_at = key_at;
    node.key_length = key_length;
    node.end = static_cast<uint32_t>(document.nodes_.size());
    node.span = {0, 0};
    return &node;
  }
  bool begin(JsonValue::Type type, error_code& error) {
    if (add(type, error) == nullptr) return false;
    open.push_back(static_cast<uint32_t>(document.nodes_.size() - 1));
    key_at = key_length = 0;
    return true;
  }
  bool end(size_t n) {
    auto& node = document.nodes_[open.back()];
    node.end = static_cast<uint32_t>(document.nodes_.size());
    node.span.length = static_cast<uint32_t>(n);
    open.pop_back();
    return true;
  }
  void part(string_view text) {
    if (!in_string) string_at = document.texts_.size();
    in_string = true;
    document.texts_.append(text.data(), text.size());
  }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code& error) { return begin(JsonValue::Type::kObject, error); }
  bool on_object_end(size_t n, error_code&) { return end(n); }
  bool on_array_begin(error_code& error) { return begin(JsonValue::Type::kArray, error); }
  bool on_array_end(size_t n, error_code&) { return end(n); }
  bool on_key_part(string_view text, size_t, error_code&) {
    part(text);
    return true;
  }
  bool on_key(string_view text, size_t, error_code&) {
    part(text);
    in_string = false;
    key_at = static_cast<uint32_t>(string_at);
    key_length = static_cast<uint32_t>(document.texts_.size() - string_at);
    return true;
  }
  bool on_string_part(string_view text, size_t, error_code&) {
    part(text);
    return true;
  }
  bool on_string(string_view text, size_t, error_code& error) {
    part(text);
    in_string = false;
    auto* node = add(JsonValue::Type::kString, error);
    if (node == nullptr) return false;
    node->span = {static_cast<uint32_t>(string_at), static_cast<uint32_t>(document.texts_.size() - string_at)};
    return true;
  }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(int64_t value, string_view, error_code& error) {
    auto* node = add(JsonValue::Type::kInteger, error);
    if (node != nullptr) node->integer = value;
    return node != nullptr;
  }
  bool on_uint64(uint64_t value, string_view, error_code& error) {
    auto* node = add(JsonValue::Type::kUnsigned, error);
    if (node != nullptr) node->natural = value;
    return node != nullptr;
  }
  bool on_double(double value, string_view text, error_code& error) {
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);  // Boost's own value is off by some ulp
    if (read.ec == std::errc::result_out_of_range) value = std::strtod(std::string(text).c_str(), nullptr);  // 0 or infinite
    auto* node = add(JsonValue::Type::kDouble, error);
    if (node != nullptr) node->real = value;
    return node != nullptr;
  }
  bool on_bool(bool value, error_code& error) {
    auto* node = add(JsonValue::Type::kBool, error);
    if (node != nullptr) node->boolean = value;
    return node != nullptr;
  }
  bool on_null(error_code& error) { return add(JsonValue::Type::kNull, error) != nullptr; }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }
};

Status JsonDocument::parse(std::string_view text, size_t max_values) {
  nodes_.clear();
  texts_.clear();
  if (nodes_.capacity() * sizeof(Node) > kKeepCapacity) std::vector<Node>().swap(nodes_);
  if (texts_.capacity() > kKeepCapacity) std::string().swap(texts_);
  json::parse_options options;
  options.max_depth = kMaxJsonDepth;
  json::basic_parser<JsonBuilder> parser(options, JsonBuilder{*this, max_values});
  boost::system::error_code error;
  size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (!error && used < text.size()) error = json::error::extra_data;
  if (!error) return {};
  const char* refused = parser.handler().refused;
  return fail(Code::kInvalidRequest, (refused != nullptr ? std::string(refused) : error.message()) + " at line 1 column " +
                                         std::to_string(used + (error == json::error::incomplete ? 0 : 1)));
}

JsonValue::Type JsonValue::type() const { return document_->nodes_[index_].type; }

std::string_view JsonValue::text() const {
  const auto& span = document_->nodes_[index_].span;
  return std::string_view(document_->texts_).substr(span.at, span.length);
}

bool JsonValue::boolean() const { return document_->nodes_[index_].boolean; }

int64_t JsonValue::integer() const { return document_->nodes_[index_].integer; }

double JsonValue::number() const {
  const auto& node = document_->nodes_[index_];
  if (node.type == Type::kInteger) return static_cast<double>(node.integer);
  if (node.type == Type::kUnsigned) return static_cast<double>(node.natural);
  return node.real;
}

bool JsonValue::unsigned_within(uint64_t max, uint64_t& out) const {
  const auto& node = document_->nodes_[index_];
  if (node.type == Type::kInteger && node.integer >= 0) {
    out = static_cast<uint64_t>(node.integer);
  } else if (node.type == Type::kUnsigned) {
    out = node.natural;
  } else {
    return false;
  }
  return out <= max;
}

size_t JsonValue::size() const { return document_->nodes_[index_].span.length; }

JsonValue::Iterator& JsonValue::Iterator::operator++() {
  index_ = document_->nodes_[index_].end;
  return *this;
}

JsonValue::Iterator JsonValue::begin() const {
  const bool container = type() == Type::kArray || type() == Type::kObject;
  return Iterator(document_, container ? index_ + 1 : document_->nodes_[index_].end);
}
JsonValue::Iterator JsonValue::end() const { return Iterator(document_, document_->nodes_[index_].end); }

std::string_view JsonValue::key() const {
  const auto& node = document_->nodes_[index_];
  return std::string_view(document_->texts_).substr(node.key_at, node.key_length);
}

}  // namespace inferd::wire
