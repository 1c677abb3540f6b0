// The schemas of one JSON Schema document, each with the keywords that llama.cpp's converter enforces; whatever it would not enforce is
// refused on the way (doc/json-schema.md). First half of the check; schema_graph follows the references. One thread at a time; refers to
// the JSON that it was read from.
#pragma once

#include <json.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"

namespace inferd::engine {

struct SchemaNode {
  enum class Form : uint8_t { kPlain, kReference, kAnyOf, kAllOf, kConst, kEnum };
  struct Property {
    std::string name;
    size_t node;
    bool required;
  };
  static constexpr size_t kNone = SIZE_MAX;  // no node

  std::string pointer;  // JSON pointer; empty: the whole
  common_json* json = nullptr;
  Form form = Form::kPlain;
  unsigned types = 0;                // SchemaType bits that `type` names; of a plain one in the end: what a value can be
  std::vector<unsigned> type_array;  // if `type` is an array: its types in order
  std::string reference;
  size_t target = kNone;             // of the reference; schema_graph fills it in
  std::vector<size_t> alternatives;  // of anyOf or allOf
  std::vector<Property> properties;  // of an allOf: those of all its parts, from schema_graph
  std::vector<std::string> required;
  size_t additional = kNone, items = kNone;
  std::vector<size_t> prefix_items;
  std::optional<uint64_t> min_items, max_items, min_length, max_length;
  std::optional<double> minimum, maximum, exclusive_minimum, exclusive_maximum;
};

class SchemaTree {
 public:
  /// `where` is the beginning of every error.
  explicit SchemaTree(std::string where) : where_(std::move(where)) {}

  /// Errors are kInvalidRequest and name the JSON pointer. The depth of `root` has been bounded.
  Status read(common_json& root);

  std::deque<SchemaNode>& nodes() { return nodes_; }  // [0] is the whole; a schema comes before those inside it
  /// The schema at a JSON pointer, or SchemaNode::kNone.
  size_t at(const std::string& pointer) const;

  /// Changes the JSON to what the converter holds, which ends the use of nodes' `json`. False if nothing had to be changed.
  bool apply_edits();

  std::unexpected<Error> refuse(const std::string& pointer, const std::string& why) const;

 private:
  using Node = SchemaNode;
  struct Edit {
    size_t node;
    std::string key;
    std::optional<int64_t> value;  // absent: the member is taken out
  };

  Status read_dialect(const common_json& value);
  Result<size_t> read_schema(common_json& json, const std::string& pointer);
  Status read_keyword(size_t index, const std::string& key, common_json& value, const std::string& at);
  Status read_child(common_json& value, const std::string& at, size_t& node);
  Status read_list(common_json& value, const std::string& at, std::vector<size_t>& list);
  Result<std::vector<Node::Property>> read_members(common_json& value, const std::string& at);
  Status read_properties(Node& node, common_json& value, const std::string& at);
  Status read_types(Node& node, const common_json& value, const std::string& at) const;
  Status read_enum(const common_json& value, const std::string& at) const;
  Status read_required(Node& node, const common_json& value, const std::string& at) const;
  Status read_count(const common_json& value, const std::string& at, uint64_t most, std::optional<uint64_t>& count) const;
  Status read_bound(const common_json& value, const std::string& at, std::optional<double>& bound) const;

  Status check_combination(size_t index);
  Status check_only(const Node& node, std::initializer_list<std::string_view> held, const std::string& why) const;
  Status check_values(const Node& node) const;
  Status check_plain(size_t index);
  Status check_object(size_t index);
  Status check_array(size_t index);
  Status check_string(const Node& node) const;
  Status check_number(size_t index);

  const std::string where_;
  bool is_2020_ = true;
  std::deque<Node> nodes_;  // elements stay in place while it grows
  std::unordered_map<std::string, size_t> by_pointer_;
  std::vector<Edit> edits_;
};

}  // namespace inferd::engine
