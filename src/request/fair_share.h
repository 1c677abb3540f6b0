// Who is to be served next: a tree user -> process -> connection with the tokens served to each, the least served first, level by level.
// Start-time fair queueing (Goyal, Vin, Cheng 1996) without weights: a node that comes back from idleness starts at the least of its
// active siblings, so idling saves nothing up and a newcomer does not have to catch up. Pure; one thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "request/flow.h"

namespace inferd {

class FairShare {
 public:
  /// One more request of this connection is there. Pairs with leave().
  void enter(const Flow& flow);
  void leave(const Flow& flow);
  /// `tokens` were computed for it. Ignored if nothing of it is there.
  void charge(const Flow& flow, uint64_t tokens);

  /// Less than 0: `a` goes before `b`; 0: neither has a claim before the other. Both have entered.
  int compare(const Flow& a, const Flow& b) const;

  /// Tokens served to each node of the path, in the virtual time of its siblings; 0 for one that is not there.
  std::array<uint64_t, std::tuple_size_v<Flow>> served(const Flow& flow) const;

  /// Nodes held, for tests: bounded by what is active and what was served since.
  size_t size() const { return count(root_); }

 private:
  struct Node {
    uint64_t served = 0;       // tokens, in the virtual time of its siblings
    uint64_t since = 0;        // when it became active: of equals the one that came last goes first, it has waited least for its share
    uint32_t requests = 0;     // present below it; 0: idle
    std::map<uint64_t, Node> children;
  };
  static void forget_idle(Node& parent);
  static size_t count(const Node& node);

  Node root_;
  uint64_t clock_ = 0;
};

}  // namespace inferd
