#include "engine/sequence_table.h"

#include <algorithm>
#include <cassert>

namespace inferd::engine {

size_t SequenceTable::common_prefix(std::span<const Token> held, std::span<const Token> prompt) {
  if (prompt.empty()) return 0;
  const size_t limit = std::min(held.size(), prompt.size() - 1);
  size_t length = 0;
  while (length < limit && held[length] == prompt[length]) ++length;
  return length;
}

// Longest first; of equal ones a finished sequence before a running one, so that it can be taken over.
std::vector<SequenceTable::Candidate> SequenceTable::candidates(std::span<const Token> prompt, uint64_t scope) const {
  std::vector<Candidate> list;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    if (sequences_[i].state == State::kFree || sequences_[i].scope != scope) continue;
    const size_t shared = common_prefix(sequences_[i].tokens, prompt);
    if (shared > 0) list.push_back({static_cast<SequenceId>(i), shared});
  }
  std::ranges::sort(list, [&](const Candidate& a, const Candidate& b) {
    if (a.shared != b.shared) return a.shared > b.shared;
    return (*this)[a.id].state == State::kHeld && (*this)[b.id].state != State::kHeld;
  });
  return list;
}

// Cells that running sequences may still take.
size_t SequenceTable::promised() const {
  size_t sum = 0;
  for (const Sequence& sequence : sequences_) {
    if (sequence.state == State::kRunning) sum += sequence.limit - sequence.tokens.size();
  }
  return sum;
}

std::optional<SequenceTable::Admission> SequenceTable::plan_with(SequenceId donor, size_t shared, size_t limit) const {
  Admission admission{.evict = {}, .sequence = -1, .donor = donor, .shared = shared};
  // A finished sequence that has nothing beyond the prefix is continued where it stands; otherwise its prefix is shared.
  const bool take_over = donor >= 0 && (*this)[donor].state == State::kHeld && (*this)[donor].tokens.size() == shared;
  if (take_over) admission.sequence = donor;

  std::vector<SequenceId> held;  // least recently used first
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const auto id = static_cast<SequenceId>(i);
    if (sequences_[i].state == State::kHeld && id != donor) held.push_back(id);
    if (sequences_[i].state == State::kFree && admission.sequence < 0) admission.sequence = id;
  }
  std::ranges::sort(held, {}, [&](SequenceId id) { return (*this)[id].last_used; });
  if (donor >= 0 && !take_over && (*this)[donor].state == State::kHeld) held.push_back(donor);  // last: then it is taken over, trimmed

  std::vector<uint32_t> references = references_;
  size_t used = used_;
  const size_t needed = promised() + limit - shared;
  auto next = held.begin();
  while (used + needed > capacity_ || admission.sequence < 0) {
    if (next == held.end()) return std::nullopt;
    const SequenceId id = *next++;
    const size_t keep = id == donor ? shared : 0;
    const auto& cells = (*this)[id].cells;
    for (size_t i = keep; i < cells.size(); ++i) used -= --references[cells[i]] == 0;
    if (id == donor) {
      admission.sequence = donor;
    } else {
      admission.evict.push_back(id);
      if (admission.sequence < 0) admission.sequence = id;
    }
  }
  return admission;
}

void SequenceTable::admit(const Admission& admission, size_t limit, uint64_t scope) {
  for (const SequenceId id : admission.evict) free(id);
  auto& sequence = sequences_[static_cast<size_t>(admission.sequence)];
  if (admission.donor == admission.sequence) {
    trim(admission.sequence, admission.shared);
  } else if (admission.donor >= 0) {
    auto& donor = sequences_[static_cast<size_t>(admission.donor)];
    sequence.tokens.assign(donor.tokens.begin(), donor.tokens.begin() + static_cast<ptrdiff_t>(admission.shared));
    sequence.cells.assign(donor.cells.begin(), donor.cells.begin() + static_cast<ptrdiff_t>(admission.shared));
    for (const uint32_t cell : sequence.cells) ++references_[cell];
    donor.last_used = ++clock_;
  }
  sequence.state = State::kRunning;
  sequence.limit = limit;
  sequence.scope = scope;
  sequence.last_used = ++clock_;
}

size_t SequenceTable::exclusive_cells(SequenceId id) const {
  return static_cast<size_t>(std::ranges::count_if((*this)[id].cells, [this](uint32_t cell) { return references_[cell] == 1; }));
}

uint32_t SequenceTable::new_cell() {
  ++used_;
  if (!free_cells_.empty()) {
    const uint32_t cell = free_cells_.back();
    free_cells_.pop_back();
    references_[cell] = 1;
    return cell;
  }
  references_.push_back(1);
  return static_cast<uint32_t>(references_.size() - 1);
}

void SequenceTable::append(SequenceId id, Token token) {
  auto& sequence = sequences_[static_cast<size_t>(id)];
  assert(sequence.state == State::kRunning && sequence.tokens.size() < sequence.limit);
  sequence.tokens.push_back(token);
  sequence.cells.push_back(new_cell());
}

void SequenceTable::release_cells(std::span<const uint32_t> cells) {
  for (const uint32_t cell : cells) {
    if (--references_[cell] > 0) continue;
    free_cells_.push_back(cell);
    --used_;
  }
}

void SequenceTable::trim(SequenceId id, size_t length) {
  auto& sequence = sequences_[static_cast<size_t>(id)];
  if (sequence.tokens.size() <= length) return;
  release_cells(std::span(sequence.cells).subspan(length));
  sequence.tokens.resize(length);
  sequence.cells.resize(length);
}

void SequenceTable::hold(SequenceId id) {
  auto& sequence = sequences_[static_cast<size_t>(id)];
  if (sequence.tokens.empty()) return free(id);
  sequence.state = State::kHeld;
  sequence.limit = 0;
  sequence.last_used = ++clock_;
}

void SequenceTable::free(SequenceId id) {
  trim(id, 0);
  auto& sequence = sequences_[static_cast<size_t>(id)];
  sequence.state = State::kFree;
  sequence.limit = 0;
}

}  // namespace inferd::engine
