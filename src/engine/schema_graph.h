// What the references of a schema make of the whole: whether they lead somewhere, whether an answer can end, how much the converter copies,
// and whether it could take one rule for another (doc/json-schema.md). Second half of the check, after SchemaTree. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/schema_tree.h"

namespace inferd::engine {

/// The references of schemas that share a grammar, by the names that the converter gives their rules, and the other rules of such names.
class ReferenceNames {
 public:
  /// Refuses a reference whose rule the converter would take for another one's.
  Status add(const SchemaTree& tree, const SchemaNode& node, const SchemaNode& target);
  void add_rule(std::string_view name);
  /// Call when all schemas are there.
  Status check() const;

 private:
  struct Use {
    std::string reference, definition;  // the definition's text
    Error taken;                        // if the name is another rule's
  };
  std::map<std::string, Use, std::less<>> uses_;
  std::set<std::string, std::less<>> rules_;
};

/// Errors are kInvalidRequest and name the JSON pointer. Fills in what SchemaNode says comes from here.
Status check_graph(SchemaTree& tree, ReferenceNames& names);

}  // namespace inferd::engine
