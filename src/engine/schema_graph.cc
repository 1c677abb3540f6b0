#include "engine/schema_graph.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <string_view>
#include <utility>

#include "engine/schema_keywords.h"

namespace inferd::engine {
namespace {

constexpr size_t kMaxWork = 4'096;      // of the converter: schemas that it visits, copies included, and more for long texts
constexpr size_t kMaxCopied = 4'096;    // properties and values in the parts of all allOf
constexpr size_t kMaxVisitDepth = 128;  // it recurses

using Node = SchemaNode;
using Form = SchemaNode::Form;

// As the converter makes the name of a rule.
std::string rule_name(std::string_view name) {
  std::string made;
  bool replaced = false;
  for (const char c : name) {
    const bool kept = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-';
    if (kept || !replaced) made += kept ? c : '-';
    replaced = !kept;
  }
  return made;
}

std::string reference_rule(const std::string& reference) { return rule_name("ref" + reference.substr(1)); }

bool has_property(const Node& node, const std::string& name) {
  return std::ranges::find(node.properties, name, &Node::Property::name) != node.properties.end();
}

class Graph {
 public:
  Graph(SchemaTree& tree, ReferenceNames& names) : tree_(tree), nodes_(tree.nodes()), names_(names) {}

  Status check() {
    for (const auto step : {&Graph::resolve, &Graph::check_loops, &Graph::check_all_of, &Graph::check_ends}) {
      if (auto held = (this->*step)(); !held) return held;
    }
    return visit(0, "answer", 0);
  }

 private:
  Status resolve() {
    std::set<size_t> named;
    for (Node& node : nodes_) {
      if (node.form != Form::kReference) continue;
      const std::string at = node.pointer + "/$ref";
      if (!node.reference.starts_with("#/")) return tree_.refuse(at, "only references into this schema are supported: \"#/...\"");
      // The converter takes them as they stand.
      if (node.reference.find_first_of("~%") != std::string::npos) return tree_.refuse(at, "a reference with ~ or % is not supported");
      node.target = tree_.at(node.reference.substr(1));
      if (node.target == Node::kNone) return tree_.refuse(at, "there is no schema at " + node.reference);
      if (!named.insert(node.target).second) continue;
      if (auto added = names_.add(tree_, node, nodes_[node.target]); !added) return added;
    }
    return {};
  }

  // A grammar must not come back to a rule before it has read a character: the parser would refuse it, the converter recurse without end.
  Status check_loops() {
    enum class State : uint8_t { kNew, kOnTheWay, kDone };
    std::vector<State> states(nodes_.size(), State::kNew);
    for (size_t begin = 0; begin < nodes_.size(); ++begin) {
      if (states[begin] != State::kNew) continue;
      std::vector<std::pair<size_t, size_t>> way = {{begin, 0}};  // a schema, and which of its successors comes next
      states[begin] = State::kOnTheWay;
      while (!way.empty()) {
        auto& [index, next] = way.back();
        const Node& node = nodes_[index];
        const bool is_reference = node.form == Form::kReference;
        if (next == (is_reference ? 1 : node.alternatives.size())) {
          states[index] = State::kDone;
          way.pop_back();
          continue;
        }
        const size_t following = is_reference ? node.target : node.alternatives[next];
        ++next;
        if (states[following] == State::kOnTheWay) {
          return tree_.refuse(is_reference ? node.pointer + "/$ref" : nodes_[following].pointer, "it leads back to itself");
        }
        if (states[following] == State::kDone) continue;
        states[following] = State::kOnTheWay;
        way.emplace_back(following, 0);
      }
    }
    return {};
  }

  const Node& followed(size_t index) const {
    while (nodes_[index].form == Form::kReference) index = nodes_[index].target;  // there are no loops
    return nodes_[index];
  }

  Status check_all_of() {
    size_t copied = 0;
    for (Node& node : nodes_) {
      if (node.form != Form::kAllOf) continue;
      for (const size_t part : node.alternatives) {
        const Node& one = followed(part);
        copied += 1 + (one.form == Form::kEnum ? one.json->at("enum").size() : one.properties.size());
      }
      if (copied > kMaxCopied) return tree_.refuse(node.pointer + "/allOf", "too much in the parts of all \"allOf\"");
      const bool enums = std::ranges::any_of(node.alternatives, [&](size_t part) { return followed(part).form == Form::kEnum; });
      if (auto held = enums ? all_of_enums(node) : all_of_objects(node); !held) return held;
    }
    return {};
  }

  // The converter writes a value that is in all of the enums, and drops parts that are none.
  Status all_of_enums(const Node& node) const {
    if (node.types != 0) return tree_.refuse(node.pointer + "/type", "\"type\" does not hold beside \"allOf\" of enums");
    if (!node.required.empty()) return tree_.refuse(node.pointer + "/required", "\"required\" does not hold beside \"allOf\" of enums");
    std::map<std::string, size_t> counts;
    for (const size_t part : node.alternatives) {
      if (followed(part).form != Form::kEnum) return tree_.refuse(nodes_[part].pointer, "beside enums only enums hold");
      for (const auto& [number, value] : followed(part).json->at("enum").items()) ++counts[value.dump()];
    }
    const bool some = std::ranges::any_of(counts, [&](const auto& count) { return count.second == node.alternatives.size(); });
    return some ? Status() : tree_.refuse(node.pointer + "/allOf", "no value is in all of the enums");
  }

  // The converter writes all properties of all objects, and drops parts that are none.
  Status all_of_objects(Node& node) const {
    for (const size_t part : node.alternatives) {
      const Node& one = followed(part);
      const std::string& at = nodes_[part].pointer;
      if (one.form != Form::kPlain || one.types != kObject || !one.type_array.empty()) {
        return tree_.refuse(at, "only objects and enums hold in \"allOf\"");
      }
      const bool closed = one.json->contains("additionalProperties") && !is_json(true, one.json->at("additionalProperties"));
      if (closed && node.alternatives.size() > 1) return tree_.refuse(at, "\"additionalProperties\" does not hold in one of several parts");
      for (const Node::Property& property : one.properties) {
        if (has_property(node, property.name)) return tree_.refuse(at, "a property that is in two parts: " + property.name);
        node.properties.push_back({property.name, property.node, true});
      }
    }
    for (size_t i = 0; i < node.required.size(); ++i) {
      if (!has_property(node, node.required[i])) {
        return tree_.refuse(node.pointer + "/required/" + std::to_string(i), "this name is in no part");
      }
    }
    return {};
  }

  // A list may be empty, but a tree of which every node must have a child never ends.
  Status check_ends() {
    ends_.assign(nodes_.size(), false);
    for (bool more = true; more;) {
      more = false;
      for (size_t i = nodes_.size(); i-- > 0;) {
        if (ends_[i] || !can_end(nodes_[i])) continue;
        ends_[i] = more = true;
      }
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!ends_[i] && nodes_[i].form == Form::kReference) return tree_.refuse(nodes_[i].pointer + "/$ref", "an answer would never end");
    }
    return {};
  }

  bool can_end(const Node& node) const {
    const auto ends = [&](size_t index) { return static_cast<bool>(ends_[index]); };
    const bool properties_end = std::ranges::all_of(node.properties, [&](const auto& one) { return !one.required || ends(one.node); });
    switch (node.form) {
      case Form::kReference: return ends(node.target);
      case Form::kAnyOf: return std::ranges::any_of(node.alternatives, ends);
      case Form::kAllOf: return properties_end;
      case Form::kConst: case Form::kEnum: return true;
      case Form::kPlain: break;
    }
    if ((node.types & ~(0u | kObject | kArray)) != 0) return true;
    if ((node.types & kObject) != 0 && properties_end) return true;
    const bool items_end = node.items == Node::kNone || node.min_items.value_or(0) == 0 || ends(node.items);
    return (node.types & kArray) != 0 && items_end && std::ranges::all_of(node.prefix_items, ends);
  }

  // The converter's way through the schema, for its length and depth, and for the names of the rules that it makes: what a reference leads
  // to is visited once, but the properties of the parts of an allOf each time.
  Status visit(size_t index, const std::string& name, size_t depth) {
    const Node& node = nodes_[index];
    work_ += 1 + name.size() / 64 + text_size(node) / 64;
    const auto optional = static_cast<size_t>(std::ranges::count(node.properties, false, &Node::Property::required));
    work_ += optional * optional / 8;
    if (work_ > kMaxWork) return tree_.refuse("", "too large (the parts of each \"allOf\" counted)");
    if (depth > kMaxVisitDepth) return tree_.refuse(node.pointer, "more than " + std::to_string(kMaxVisitDepth) + " schemas inside each other");
    if (node.type_array.empty()) return visit_as(node, node.types, name, depth);
    for (size_t i = 0; i < node.type_array.size(); ++i) {
      const std::string one = name + "-" + std::to_string(i);
      names_.add_rule(one);
      if (auto visited = visit_as(node, node.type_array[i], one, depth); !visited) return visited;
    }
    return {};
  }

  // Of what goes into the grammar letter by letter.
  size_t text_size(const Node& node) const {
    const auto size_of = [](const Node& one, const char* key) { return one.json->at(key).dump().size(); };
    switch (node.form) {
      case Form::kConst: return size_of(node, "const");
      case Form::kEnum: return size_of(node, "enum");
      case Form::kPlain: return node.json->contains("pattern") ? 8 * size_of(node, "pattern") : 0;
      case Form::kAllOf: break;
      default: return 0;
    }
    size_t size = 0;
    for (const size_t part : node.alternatives) size += followed(part).form == Form::kEnum ? size_of(followed(part), "enum") : 0;
    return size;
  }

  Status visit_as(const Node& node, unsigned type, const std::string& name, size_t depth) {
    switch (node.form) {
      case Form::kReference: {
        const std::string target = reference_rule(node.reference);
        return visited_.insert(target).second ? visit(node.target, target, depth + 1) : Status();
      }
      case Form::kAnyOf:
        for (size_t i = 0; i < node.alternatives.size(); ++i) {
          if (auto visited = visit_child(node.alternatives[i], name + "-" + std::to_string(i), depth); !visited) return visited;
        }
        return {};
      case Form::kAllOf: return visit_properties(node, name, depth);
      case Form::kConst: case Form::kEnum: return {};
      case Form::kPlain: break;
    }
    if (type == kString && node.json->contains("pattern")) names_.add_rule(name + "-");  // and a number
    if (type == kObject) {
      if (auto visited = visit_properties(node, name, depth); !visited) return visited;
      if (node.additional == Node::kNone) return {};
      names_.add_rule(name + "-additional-kv");
      return visit_child(node.additional, name + "-additional-value", depth);
    }
    if (type != kArray) return {};
    for (size_t i = 0; i < node.prefix_items.size(); ++i) {
      if (auto visited = visit_child(node.prefix_items[i], name + "-tuple-" + std::to_string(i), depth); !visited) return visited;
    }
    return node.items == Node::kNone ? Status() : visit_child(node.items, name + "-item", depth);
  }

  Status visit_child(size_t index, const std::string& name, size_t depth) {
    names_.add_rule(name);
    return visit(index, name, depth + 1);
  }

  Status visit_properties(const Node& node, const std::string& name, size_t depth) {
    for (const Node::Property& property : node.properties) {
      const std::string one = name + "-" + property.name;
      names_.add_rule(one + "-kv");
      names_.add_rule(one + "-rest");
      if (auto visited = visit_child(property.node, one, depth); !visited) return visited;
    }
    return {};
  }

  SchemaTree& tree_;
  std::deque<Node>& nodes_;
  ReferenceNames& names_;
  std::vector<bool> ends_;          // by node
  std::set<std::string> visited_;  // rules of references
  size_t work_ = 0;
};

}  // namespace

Status ReferenceNames::add(const SchemaTree& tree, const SchemaNode& node, const SchemaNode& target) {
  const std::string name = reference_rule(node.reference);
  const std::string at = node.pointer + "/$ref";
  const auto taken = tree.refuse(at, "llama.cpp's converter takes " + node.reference + " for something else: rename it");
  const auto used = uses_.find(name);
  if (used == uses_.end()) {
    uses_.emplace(name, Use{node.reference, target.json->dump(), taken.error()});
    return {};
  }
  if (used->second.reference != node.reference) return taken;
  if (used->second.definition == target.json->dump()) return {};
  return tree.refuse(at, node.reference + " is something else in another schema of this request: rename it");
}

void ReferenceNames::add_rule(std::string_view name) {
  if (name.starts_with("ref-")) rules_.insert(rule_name(name));  // others are never taken for a reference's
}

Status ReferenceNames::check() const {
  for (const auto& [name, use] : uses_) {
    // The converter makes names unique with a number behind them.
    const std::string_view stem = std::string_view(name).substr(0, name.find_last_not_of("0123456789") + 1);
    if (rules_.contains(name) || (stem.size() < name.size() && rules_.contains(stem))) return std::unexpected(use.taken);
  }
  return {};
}

Status check_graph(SchemaTree& tree, ReferenceNames& names) { return Graph(tree, names).check(); }

}  // namespace inferd::engine
