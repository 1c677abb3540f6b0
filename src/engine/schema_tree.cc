#include "engine/schema_tree.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "engine/schema_keywords.h"
#include "engine/schema_pattern.h"

namespace inferd::engine {
namespace {

constexpr size_t kMaxMembers = 256;   // of one object: llama-common looks members up one by one
constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxOptional = 128;  // properties of one object: the converter's work grows with their square
constexpr uint64_t kMaxItems = 500;   // llama.cpp's grammar parser takes 2,000 symbols for one repetition; an item is up to three
constexpr uint64_t kMaxLength = 2'000;              // above that the parser drops the bound without a word
constexpr int64_t kMaxBound = 999'999'999'999'999;  // of integers: exact in a double, and within the 16 digits of the grammar

std::string quoted(std::string_view name) { return "\"" + std::string(name) + "\""; }

std::string pointer_token(const std::string& name) {
  std::string token;
  for (const char c : name) {
    if (c == '~' || c == '/') {
      token += c == '~' ? "~0" : "~1";
    } else {
      token += c;
    }
  }
  return token;
}

// Why a value of const or enum would not be written as it was given; nullptr if it would. Recursion: the text's depth is bounded.
const char* value_fault(const common_json& value) {
  // An integer that does not fit into 64 bits has become a double: another number.
  if (value.is_number() && !value.is_number_integer() && std::fabs(value.get<double>()) >= 0x1p63) return "a number of 2^63 and more";
  if (!value.is_array() && !value.is_object()) return nullptr;
  if (value.is_object() && value.size() > kMaxMembers) return "an object with too many members";
  for (const auto& [key, member] : value.items()) {
    if (const char* fault = value_fault(member)) return fault;
  }
  return nullptr;
}

bool has_properties(const common_json& json) {
  return json.contains("properties") || (json.contains("additionalProperties") && !is_json(true, json.at("additionalProperties")));
}

}  // namespace

std::unexpected<Error> SchemaTree::refuse(const std::string& pointer, const std::string& why) const {
  return fail(Code::kInvalidRequest, where_ + ": " + (pointer.empty() ? "" : pointer + ": ") + why);
}

size_t SchemaTree::at(const std::string& pointer) const {
  const auto found = by_pointer_.find(pointer);
  return found == by_pointer_.end() ? Node::kNone : found->second;
}

Status SchemaTree::read(common_json& root) {
  if (root.is_object() && root.contains("$schema")) {
    if (auto known = read_dialect(root.at("$schema")); !known) return known;
  }
  auto whole = read_schema(root, "");
  return whole ? Status() : std::unexpected(std::move(whole.error()));
}

bool SchemaTree::apply_edits() {
  // From the last one: what lies inside a schema comes behind it, and a member that is taken out or added moves its neighbours.
  std::ranges::stable_sort(edits_, [](const Edit& a, const Edit& b) { return a.node > b.node; });
  for (const Edit& edit : edits_) {
    common_json& json = *nodes_[edit.node].json;
    if (edit.value) {
      json[edit.key] = *edit.value;
    } else {
      json.erase(edit.key);
    }
  }
  return !edits_.empty();
}

// ---- reading ----

Status SchemaTree::read_dialect(const common_json& value) {
  constexpr std::string_view kHost = "://json-schema.org/";
  std::string name = value.is_string() ? value.get<std::string>() : "";
  if (name.ends_with('#')) name.pop_back();
  const size_t host = name.find(kHost);
  const std::string draft = host == std::string::npos ? "" : name.substr(host + kHost.size());
  is_2020_ = draft == "draft/2020-12/schema";
  if (is_2020_ || draft == "draft/2019-09/schema" || draft == "draft-07/schema" || draft == "draft-06/schema") return {};
  return refuse("/$schema", "only 2020-12, 2019-09, draft-07 and draft-06 are supported");
}

// Recursion: the text's depth is bounded.
Result<size_t> SchemaTree::read_schema(common_json& json, const std::string& pointer) {
  if (!json.is_object()) return refuse(pointer, "a schema has to be an object here (true and false are not supported)");
  if (json.size() > kMaxMembers) return refuse(pointer, "more than " + std::to_string(kMaxMembers) + " members");
  const size_t index = nodes_.size();
  Node& node = nodes_.emplace_back();
  node.pointer = pointer;
  node.json = &json;
  by_pointer_.emplace(pointer, index);
  for (const auto& [key, value] : json.items()) {
    if (auto read = read_keyword(index, key, value, pointer + "/" + pointer_token(key)); !read) return std::unexpected(std::move(read.error()));
  }
  if (auto held = check_combination(index); !held) return std::unexpected(std::move(held.error()));
  return index;
}

Status SchemaTree::read_keyword(size_t index, const std::string& key, common_json& value, const std::string& at) {
  Node& node = nodes_[index];
  switch (keyword_of(key)) {
    case Keyword::kNone: return {};
    case Keyword::kUnsupported:
      if (key == "uniqueItems" && is_json(false, value)) return {};
      return refuse(at, "keyword " + quoted(key) + " is not supported" + (key == "oneOf" ? ": write \"anyOf\"" : ""));
    case Keyword::kDialect: return index == 0 ? Status() : refuse(at, "only the whole schema can have it");
    case Keyword::kIdentifier: return index == 0 && value.is_string() ? Status() : refuse(at, "it has to be a text, and of the whole schema");
    case Keyword::kDefinitions: {
      auto read = read_members(value, at);
      return read ? Status() : std::unexpected(std::move(read.error()));
    }
    case Keyword::kReference:
      if (!value.is_string()) return refuse(at, "not a text");
      node.reference = value.get<std::string>();
      return {};
    case Keyword::kType: return read_types(node, value, at);
    case Keyword::kConst: {
      const char* fault = value_fault(value);
      return fault == nullptr ? Status() : refuse(at, fault);
    }
    case Keyword::kEnum: return read_enum(value, at);
    case Keyword::kAlternatives: return read_list(value, at, node.alternatives);
    case Keyword::kProperties: return read_properties(node, value, at);
    case Keyword::kRequired: return read_required(node, value, at);
    case Keyword::kAdditional: return value.is_boolean() ? Status() : read_child(value, at, node.additional);
    case Keyword::kItems:
      if (value.is_array()) return refuse(at, "an array of schemas is not supported here: write \"prefixItems\"");
      if (is_json(false, value) && node.json->contains("prefixItems")) return {};
      return read_child(value, at, node.items);
    case Keyword::kPrefixItems:
      if (!is_2020_) return refuse(at, "the draft that \"$schema\" names does not have it");
      return read_list(value, at, node.prefix_items);
    case Keyword::kCount:
      if (key == "minItems") return read_count(value, at, kMaxItems, node.min_items);
      if (key == "maxItems") return read_count(value, at, kMaxItems, node.max_items);
      return read_count(value, at, kMaxLength, key == "minLength" ? node.min_length : node.max_length);
    case Keyword::kPattern: {
      if (!value.is_string()) return refuse(at, "not a text");
      const std::string fault = pattern_fault(value.get<std::string>());
      return fault.empty() ? Status() : refuse(at, fault);
    }
    case Keyword::kFormat: return value.is_string() ? Status() : refuse(at, "not a text");
    case Keyword::kBound:
      if (key == "minimum") return read_bound(value, at, node.minimum);
      if (key == "maximum") return read_bound(value, at, node.maximum);
      return read_bound(value, at, key == "exclusiveMinimum" ? node.exclusive_minimum : node.exclusive_maximum);
  }
  return {};
}

Status SchemaTree::read_child(common_json& value, const std::string& at, size_t& node) {
  auto read = read_schema(value, at);
  if (!read) return std::unexpected(std::move(read.error()));
  node = *read;
  return {};
}

Status SchemaTree::read_list(common_json& value, const std::string& at, std::vector<size_t>& list) {
  if (!value.is_array() || value.empty()) return refuse(at, "not an array of schemas with at least one");
  list.clear();
  for (const auto& [number, one] : value.items()) {
    auto read = read_schema(one, at + "/" + number);
    if (!read) return std::unexpected(std::move(read.error()));
    list.push_back(*read);
  }
  return {};
}

// The schemas of an object, each under its name.
Result<std::vector<SchemaNode::Property>> SchemaTree::read_members(common_json& value, const std::string& at) {
  if (!value.is_object()) return refuse(at, "not an object");
  if (value.size() > kMaxMembers) return refuse(at, "more than " + std::to_string(kMaxMembers) + " members");
  std::vector<Node::Property> members;
  for (const auto& [name, one] : value.items()) {
    if (name.size() > kMaxNameBytes) return refuse(at, "a name of " + std::to_string(name.size()) + " bytes");
    auto node = read_schema(one, at + "/" + pointer_token(name));
    if (!node) return std::unexpected(std::move(node.error()));
    members.push_back({name, *node, false});
  }
  return members;
}

Status SchemaTree::read_properties(Node& node, common_json& value, const std::string& at) {
  auto members = read_members(value, at);
  if (!members) return std::unexpected(std::move(members.error()));
  // The converter's own name for additional ones: it would be written any number of times.
  if (value.contains("*")) return refuse(at + "/*", "this name is not supported");
  node.properties = std::move(*members);
  return {};
}

Status SchemaTree::read_types(Node& node, const common_json& value, const std::string& at) const {
  const auto add = [&](const common_json& name, const std::string& pointer) -> Status {
    const unsigned type = name.is_string() ? schema_type(name.get<std::string>()) : 0;
    if (type == 0) return refuse(pointer, "not a type");
    if ((node.types & type) != 0) return refuse(pointer, "a type that is there twice");
    node.types |= type;
    if (value.is_array()) node.type_array.push_back(type);
    return {};
  };
  if (!value.is_array()) return add(value, at);
  if (value.empty()) return refuse(at, "no type");
  for (const auto& [number, name] : value.items()) {
    if (auto added = add(name, at + "/" + number); !added) return added;
  }
  return {};
}

Status SchemaTree::read_enum(const common_json& value, const std::string& at) const {
  if (!value.is_array() || value.empty()) return refuse(at, "not an array with at least one value");
  std::set<std::string> texts;
  for (const auto& [number, one] : value.items()) {
    if (const char* fault = value_fault(one)) return refuse(at + "/" + number, fault);
    if (!texts.insert(one.dump()).second) return refuse(at + "/" + number, "a value that is there twice");
  }
  return {};
}

Status SchemaTree::read_required(Node& node, const common_json& value, const std::string& at) const {
  if (!value.is_array()) return refuse(at, "not an array");
  std::set<std::string> names;
  for (const auto& [number, one] : value.items()) {
    if (!one.is_string()) return refuse(at + "/" + number, "not a text");
    if (!names.insert(one.get<std::string>()).second) return refuse(at + "/" + number, "a name that is there twice");
    node.required.push_back(one.get<std::string>());
  }
  return {};
}

Status SchemaTree::read_count(const common_json& value, const std::string& at, uint64_t most, std::optional<uint64_t>& count) const {
  if (!value.is_number_integer() || value.get<double>() < 0) return refuse(at, "not an integer of 0 or more");
  if (value.get<double>() > static_cast<double>(most)) return refuse(at, "at most " + std::to_string(most) + " is supported");
  count = static_cast<uint64_t>(value.get<int64_t>());
  return {};
}

Status SchemaTree::read_bound(const common_json& value, const std::string& at, std::optional<double>& bound) const {
  if (!value.is_number()) return refuse(at, "not a number");
  if (std::fabs(value.get<double>()) > static_cast<double>(kMaxBound)) return refuse(at, "at most 15 digits are supported");
  bound = value.get<double>();
  return {};
}

// ---- what stands side by side: of some keywords the converter takes one and drops the rest ----

// Refuses what constrains besides `held`.
Status SchemaTree::check_only(const Node& node, std::initializer_list<std::string_view> held, const std::string& why) const {
  for (const auto& [key, value] : node.json->items()) {
    if (constrains(key, value) && std::ranges::find(held, key) == held.end()) return refuse(node.pointer + "/" + key, quoted(key) + why);
  }
  return {};
}

Status SchemaTree::check_combination(size_t index) {
  Node& node = nodes_[index];
  const common_json& json = *node.json;
  if (json.contains("$ref")) {
    node.form = Node::Form::kReference;
    return check_only(node, {"$ref"}, " does not hold beside \"$ref\"");
  }
  if (json.contains("anyOf")) {
    node.form = Node::Form::kAnyOf;
    return check_only(node, {"anyOf"}, " does not hold beside \"anyOf\"");
  }
  if (json.contains("const")) {
    node.form = Node::Form::kConst;
    return check_values(node);
  }
  if (json.contains("enum")) {
    node.form = Node::Form::kEnum;
    return check_values(node);
  }
  if (!json.contains("allOf")) return check_plain(index);
  node.form = Node::Form::kAllOf;
  const std::string at = node.pointer + "/allOf";
  if (has_properties(json)) return refuse(at, "\"allOf\" does not hold beside \"properties\" and \"additionalProperties\"");
  if (node.types != 0 && node.types != kObject) return refuse(at, "\"allOf\" holds for \"type\": \"object\" only");
  return check_only(node, {"allOf", "type", "required"}, " does not hold beside \"allOf\"");
}

Status SchemaTree::check_values(const Node& node) const {
  const char* key = node.form == Node::Form::kConst ? "const" : "enum";
  if (auto alone = check_only(node, {key, "type"}, " does not hold beside " + quoted(key)); !alone) return alone;
  if (node.types == 0) return {};
  const common_json& held = node.json->at(key);
  if (node.form == Node::Form::kConst) return is_of_type(held, node.types) ? Status() : refuse(node.pointer + "/const", "not of the type");
  for (const auto& [number, value] : held.items()) {
    if (!is_of_type(value, node.types)) return refuse(node.pointer + "/enum/" + number, "not of the type");
  }
  return {};
}

Status SchemaTree::check_plain(size_t index) {
  Node& node = nodes_[index];
  const common_json& json = *node.json;
  if (node.types == 0) {  // the converter's order
    const bool format = json.contains("format") && is_enforced_format(json.at("format"));
    if (has_properties(json)) {
      node.types = kObject;
    } else if (json.contains("items") || json.contains("prefixItems")) {
      node.types = kArray;
    } else if (json.contains("pattern") || json.contains("minLength") || json.contains("maxLength") || format) {
      node.types = kString;
    } else {
      node.types = kAnyType;
      return check_only(node, {}, " needs \"type\" beside it");
    }
  }
  // A keyword of a type that the value cannot be constrains nothing.
  if ((node.types & kObject) != 0) {
    if (auto held = check_object(index); !held) return held;
  }
  if ((node.types & kArray) != 0) {
    if (auto held = check_array(index); !held) return held;
  }
  if ((node.types & kString) != 0) {
    if (auto held = check_string(node); !held) return held;
  }
  return (node.types & (kInteger | kNumber)) != 0 ? check_number(index) : Status();
}

Status SchemaTree::check_object(size_t index) {
  Node& node = nodes_[index];
  for (size_t i = 0; i < node.required.size(); ++i) {
    const auto property = std::ranges::find(node.properties, node.required[i], &Node::Property::name);
    if (property == node.properties.end()) {
      return refuse(node.pointer + "/required/" + std::to_string(i), "this name is not among \"properties\"");
    }
    property->required = true;
  }
  if (std::ranges::count(node.properties, false, &Node::Property::required) > static_cast<ptrdiff_t>(kMaxOptional)) {
    return refuse(node.pointer + "/properties", "more than " + std::to_string(kMaxOptional) + " of them are optional");
  }
  if (node.properties.empty()) return {};
  // The converter's rule for names that are none of these lets broken ones through ("\": 1), and these in another spelling.
  const std::string at = node.pointer + "/additionalProperties";
  if (node.additional != Node::kNone) return refuse(at, "a schema for other names does not hold beside \"properties\"");
  if (node.json->contains("additionalProperties") && is_json(true, node.json->at("additionalProperties"))) {
    edits_.push_back({index, "additionalProperties", {}});
  }
  return {};
}

Status SchemaTree::check_array(size_t index) {
  const Node& node = nodes_[index];
  const size_t count = node.prefix_items.size();
  if (node.items != Node::kNone && count > 0) return refuse(node.pointer + "/prefixItems", "\"prefixItems\" does not hold beside \"items\"");
  if (node.min_items && node.max_items && *node.min_items > *node.max_items) return refuse(node.pointer + "/minItems", "more than \"maxItems\"");
  if (count == 0) return {};
  // All of them are written, and no more.
  if (node.min_items && *node.min_items > count) return refuse(node.pointer + "/minItems", "more than there are \"prefixItems\"");
  if (node.max_items && *node.max_items < count) return refuse(node.pointer + "/maxItems", "less than there are \"prefixItems\"");
  if (node.json->contains("items")) edits_.push_back({index, "items", {}});  // false
  return {};
}

Status SchemaTree::check_string(const Node& node) const {
  const bool pattern = node.json->contains("pattern");
  const bool format = node.json->contains("format") && is_enforced_format(node.json->at("format"));
  if (pattern && format) return refuse(node.pointer + "/format", "\"format\" does not hold beside \"pattern\"");
  if (pattern || format) {
    const std::string why = std::string(" does not hold beside ") + (pattern ? "\"pattern\"" : "\"format\"");
    if (node.min_length) return refuse(node.pointer + "/minLength", "\"minLength\"" + why);
    if (node.max_length) return refuse(node.pointer + "/maxLength", "\"maxLength\"" + why);
  }
  if (node.min_length && node.max_length && *node.min_length > *node.max_length) {
    return refuse(node.pointer + "/minLength", "more than \"maxLength\"");
  }
  return {};
}

Status SchemaTree::check_number(size_t index) {
  const Node& node = nodes_[index];
  if ((node.types & kNumber) != 0) {
    for (const char* key : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
      if (node.json->contains(key)) return refuse(node.pointer + "/" + key, quoted(key) + " holds for \"type\": \"integer\" only");
    }
    return {};
  }
  if (node.minimum && node.exclusive_minimum) return refuse(node.pointer + "/exclusiveMinimum", "it does not hold beside \"minimum\"");
  if (node.maximum && node.exclusive_maximum) return refuse(node.pointer + "/exclusiveMaximum", "it does not hold beside \"maximum\"");
  std::optional<double> low, high;  // the integers that are left
  if (node.minimum) low = std::ceil(*node.minimum);
  if (node.exclusive_minimum) low = std::floor(*node.exclusive_minimum) + 1;
  if (node.maximum) high = std::floor(*node.maximum);
  if (node.exclusive_maximum) high = std::ceil(*node.exclusive_maximum) - 1;
  // A single bound is completed: alone, the converter takes 10 for at least 100, and writes -05 for less than 0. Two it holds.
  if (low && !high && *low >= 100) {
    high = static_cast<double>(kMaxBound);
    edits_.push_back({index, "maximum", kMaxBound});
  }
  if (high && !low && *high < 0) {
    low = -static_cast<double>(kMaxBound);
    edits_.push_back({index, "minimum", -kMaxBound});
  }
  if (!low || !high || *low <= *high) return {};
  const char* upper = node.maximum ? "/maximum" : node.exclusive_maximum ? "/exclusiveMaximum" : nullptr;
  const char* key = upper != nullptr ? upper : node.minimum ? "/minimum" : "/exclusiveMinimum";
  return refuse(node.pointer + key, "no integer of at most 15 digits is left");
}

}  // namespace inferd::engine
