#include "request/fair_share.h"

#include <algorithm>
#include <limits>

namespace inferd {

void FairShare::enter(const Flow& flow) {
  Node* parent = &root_;
  for (const uint64_t key : flow) {
    Node& node = parent->children[key];
    if (node.requests++ == 0) {
      uint64_t least = std::numeric_limits<uint64_t>::max();
      for (const auto& [other_key, other] : parent->children) {
        if (other_key != key && other.requests > 0) least = std::min(least, other.served);
      }
      if (least != std::numeric_limits<uint64_t>::max()) node.served = std::max(node.served, least);
      node.since = ++clock_;
    }
    parent = &node;
  }
}

void FairShare::leave(const Flow& flow) {
  Node* path[std::tuple_size_v<Flow>];
  Node* node = &root_;
  for (size_t level = 0; level < flow.size(); ++level) {
    const auto at = node->children.find(flow[level]);
    if (at == node->children.end() || at->second.requests == 0) return;
    node = path[level] = &at->second;
  }
  for (Node* each : path) --each->requests;
  for (size_t level = flow.size(); level-- > 0;) forget_idle(level == 0 ? root_ : *path[level - 1]);
}

// An idle node that was served no more than every active sibling has no debt: it would start where they are anyway.
void FairShare::forget_idle(Node& parent) {
  uint64_t least = std::numeric_limits<uint64_t>::max();
  for (const auto& [key, node] : parent.children) {
    if (node.requests > 0) least = std::min(least, node.served);
  }
  std::erase_if(parent.children, [&](const auto& entry) { return entry.second.requests == 0 && entry.second.served <= least; });
}

void FairShare::charge(const Flow& flow, uint64_t tokens) {
  Node* node = &root_;
  for (const uint64_t key : flow) {
    const auto at = node->children.find(key);
    if (at == node->children.end() || at->second.requests == 0) return;
    node = &at->second;
    node->served += tokens;
  }
}

std::array<uint64_t, std::tuple_size_v<Flow>> FairShare::served(const Flow& flow) const {
  std::array<uint64_t, std::tuple_size_v<Flow>> path{};
  const Node* node = &root_;
  for (size_t level = 0; level < flow.size(); ++level) {
    const auto at = node->children.find(flow[level]);
    if (at == node->children.end()) break;
    node = &at->second;
    path[level] = node->served;
  }
  return path;
}

int FairShare::compare(const Flow& a, const Flow& b) const {
  const Node* parent = &root_;
  for (size_t level = 0; level < a.size(); ++level) {
    const auto first = parent->children.find(a[level]), second = parent->children.find(b[level]);
    if (first == parent->children.end() || second == parent->children.end()) return 0;
    if (a[level] == b[level]) {
      parent = &first->second;
      continue;
    }
    const Node &one = first->second, &other = second->second;
    if (one.served != other.served) return one.served < other.served ? -1 : 1;
    // The last level is a connection with one request at a time: there the order of arrival decides.
    if (level == kFlowConnection) return 0;
    return one.since > other.since ? -1 : 1;
  }
  return 0;
}

size_t FairShare::count(const Node& node) {
  size_t sum = node.children.size();
  for (const auto& [key, child] : node.children) sum += count(child);
  return sum;
}

}  // namespace inferd
