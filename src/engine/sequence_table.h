// Which sequences the KV cache holds, running and finished, which cells they share, and which prefix a new request reuses.
// Pure bookkeeping (no llama.cpp): the step loop mirrors every change with llama_memory_seq_* calls. Step thread.
//
// Cells are counted exactly: a sequence lists its cells, a shared cell is counted once. A request is admitted only if all the cells
// that it may ever need are free or can be freed by evicting finished sequences, so that a running one never runs out.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace inferd::engine {

using Token = int32_t;
using SequenceId = int32_t;

class SequenceTable {
 public:
  enum class State : uint8_t { kFree, kRunning, kHeld };

  struct Sequence {
    State state = State::kFree;
    std::vector<Token> tokens;     // in the cache, by position
    std::vector<uint32_t> cells;   // the cell of each
    size_t limit = 0;              // running: tokens that it may grow to
    uint64_t scope = 0;            // only requests of the same scope may reuse it
    uint64_t last_used = 0;
  };

  /// A place for a request, and what has to be done to the cache first, in this order.
  struct Admission {
    std::vector<SequenceId> evict;       // remove entirely
    SequenceId sequence = -1;            // the place
    SequenceId donor = -1;               // has the prefix; == sequence: taken over in place
    size_t shared = 0;                   // tokens of the prefix; the donor is trimmed to it if taken over
  };

  SequenceTable(size_t sequences, size_t cells) : sequences_(sequences), capacity_(cells) {}

  /// Length of the common beginning of a sequence and a prompt, at most prompt.size() - 1: the last token has to be computed.
  static size_t common_prefix(std::span<const Token> held, std::span<const Token> prompt);

  /// Whether and how a request of `prompt` growing to `limit` tokens (>= prompt.size()) can run now. `usable(donor, shared)` says how
  /// much of a donor's first `shared` tokens this model's memory can reuse (all for full attention); called for candidates, best first.
  template <class Usable>
  std::optional<Admission> plan(std::span<const Token> prompt, size_t limit, uint64_t scope, Usable usable) const;

  /// Carries a plan out: evicts, shares cells, marks the sequence running with `shared` tokens.
  void admit(const Admission& admission, size_t limit, uint64_t scope);

  /// The sequence has computed one more token.
  void append(SequenceId id, Token token);
  /// Only the first `length` tokens are left.
  void trim(SequenceId id, size_t length);
  /// The request has ended; its tokens stay for others to reuse.
  void hold(SequenceId id);
  /// Nothing is left of it.
  void free(SequenceId id);

  const Sequence& operator[](SequenceId id) const { return sequences_[static_cast<size_t>(id)]; }
  size_t size() const { return sequences_.size(); }
  size_t used_cells() const { return used_; }
  /// Cells that no other sequence has.
  size_t exclusive_cells(SequenceId id) const;

 private:
  struct Candidate {
    SequenceId id;
    size_t shared;
  };
  std::vector<Candidate> candidates(std::span<const Token> prompt, uint64_t scope) const;
  std::optional<Admission> plan_with(SequenceId donor, size_t shared, size_t limit) const;
  size_t promised() const;
  void release_cells(std::span<const uint32_t> cells);
  uint32_t new_cell();

  std::vector<Sequence> sequences_;
  const size_t capacity_;
  std::vector<uint32_t> references_;  // by cell
  std::vector<uint32_t> free_cells_;
  size_t used_ = 0;
  uint64_t clock_ = 0;
};

template <class Usable>
std::optional<SequenceTable::Admission> SequenceTable::plan(std::span<const Token> prompt, size_t limit, uint64_t scope, Usable usable) const {
  for (const Candidate& candidate : candidates(prompt, scope)) {
    const size_t shared = usable(candidate.id, candidate.shared);
    if (shared == 0) continue;
    if (auto admission = plan_with(candidate.id, shared, limit)) return admission;
  }
  return plan_with(-1, 0, limit);
}

}  // namespace inferd::engine
