#include "engine/step_loop.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace inferd::engine {
namespace {

// Time of a step with prompts in it, while nobody is owed a steady pace. The larger the slice, the less a token costs; but whoever comes
// in between waits for the rest or, if that is long, makes its work void.
constexpr double kShortStepMs = 250, kLongStepMs = 1000;
constexpr double kWasteWorth = 1.0 / 30;    // of the time computed may be made void by newcomers and cancels; beyond that, steps are short
constexpr auto kWorthAborting = std::chrono::milliseconds(25);  // a shorter rest of a step is waited for
constexpr auto kLongWait = std::chrono::milliseconds(250);      // for equals
constexpr auto kLongestWithoutTurn = std::chrono::seconds(2);   // of all batch requests while interactive ones start
constexpr double kBesideFirstToken = 2;     // times the step that a prompt's rest needs: what others may make of the step with its first token
constexpr auto kTellAlive = std::chrono::seconds(1);  // while media are encoded
constexpr double kLongestCopyMs = 50;       // of a state, while somebody streams
constexpr uint64_t kShareQuantum = 1024;    // tokens
constexpr size_t kWorthRestoring = 16;      // tokens more than the cache itself has of the prompt
constexpr size_t kWorthWaiting = 32;        // tokens of a prefix that another request is computing

template <class List>
auto find_id(List& list, uint64_t id) {
  return std::ranges::find_if(list, [id](const auto& request) { return request->prepared.id == id; });
}

// Sliding windows and recurrent states cannot be cut to a beginning: a saved one serves only a prompt that goes on where it ends.
bool has_whole_states(const Decoder& decoder) { return decoder.is_recurrent() || decoder.window() > 0; }

}  // namespace

StepLoop::StepLoop(Decoder& decoder, Options options, Sink sink, SideWork side_work)
    : decoder_(decoder), options_(options), sink_(std::move(sink)), side_work_(std::move(side_work)), table_(options.sequence_ids, options.kv_cells),
      parked_(options.host_cache_bytes, has_whole_states(decoder)) {}

// ---- from other threads

void StepLoop::start(PreparedRequest request) {
  {
    const std::lock_guard lock(mutex_);
    without_cells_.insert(request.id);
    if (!request.batch && !computing_.empty() && computing_until_ - Clock::now() > yields_above_) decoder_.abort(true);
    inbox_.emplace_back(std::move(request));
  }
  wake_.notify_one();
}

bool StepLoop::resume(uint64_t id, bool promoted) {
  {
    const std::lock_guard lock(mutex_);
    if (!without_cells_.contains(id) && !running_ids_.contains(id)) return false;
    inbox_.emplace_back(Resume{id, promoted});
  }
  wake_.notify_one();
  return true;
}

void StepLoop::pause(uint64_t id) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.emplace_back(Pause{id});
  }
  wake_.notify_one();
}

bool StepLoop::cancel(uint64_t id) {
  {
    const std::lock_guard lock(mutex_);
    if (running_ids_.contains(id)) {
      cancelled_.push_back(id);
      const auto now = Clock::now();
      const bool long_rest = computing_until_ - now > kWorthAborting || now > computing_until_;  // beyond its time nobody knows
      if (computing_.contains(id) && long_rest && abortable_) {
        aborted_by_cancel_ = true;
        decoder_.abort(true);
      }
      wake_.notify_one();
      return true;
    }
    if (without_cells_.erase(id) == 0) return false;
  }
  wake_.notify_one();
  sink_.removed(id);  // it holds nothing; the step thread throws the rest away
  return true;
}

void StepLoop::wake() {
  { const std::lock_guard lock(mutex_); }  // a waiter looks again, or has not begun to wait
  wake_.notify_one();
}

void StepLoop::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    decoder_.abort(true);
  }
  wake_.notify_one();
}

// ---- the step thread

void StepLoop::run() {
  while (wait_for_work()) {
    step_once();
    if (!has_side_work() || (!running_.empty() && Clock::now() < side_work_due_)) continue;
    const auto begin = Clock::now();
    side_work_.run_one();
    side_work_due_ = Clock::now() + (Clock::now() - begin);  // the streams get as much
  }
}

bool StepLoop::wait_for_work() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return stopping_ || !inbox_.empty() || !cancelled_.empty() || !running_.empty() || (!waiting_.empty() && admission_changed_) || has_side_work(); });
  return !stopping_;
}

bool StepLoop::step_once() {
  take_commands();
  remove_cancelled();
  admit_waiting();
  build_batch();
  if (batch_.empty() && media_ == nullptr) return false;
  engine_wire::Step step;
  if (compute(step)) accept_tokens(step);
  sink_.step(std::move(step));
  for (auto at = running_.begin(); at != running_.end();) {
    if (!(*at)->ended) {
      ++at;
      continue;
    }
    retire(**at, true);
    forget(**at);
    at = running_.erase(at);
  }
  park_held();
  return true;
}

void StepLoop::take_commands() {
  std::vector<Command> commands;
  std::vector<std::unique_ptr<Request>> dropped;
  {
    const std::lock_guard lock(mutex_);
    commands.swap(inbox_);
    for (Requests* list : {&waiting_, &paused_}) {
      for (auto at = list->begin(); at != list->end();) {
        if (without_cells_.contains((*at)->prepared.id)) {
          ++at;
        } else {
          dropped.push_back(std::move(*at));
          at = list->erase(at);
        }
      }
    }
  }
  for (const auto& request : dropped) share_.leave(request->prepared.flow);
  admission_changed_ = admission_changed_ || !commands.empty() || !dropped.empty();
  for (Command& command : commands) {
    std::visit([this](auto& held) { on(std::move(held)); }, command);
  }
}

void StepLoop::on(PreparedRequest prepared) {
  auto request = std::make_unique<Request>();
  request->tokens = prepared.prompt;
  request->arrived = ++events_;
  share_.enter(prepared.flow);
  request->prepared = std::move(prepared);
  waiting_.push_back(std::move(request));
}

void StepLoop::on(Resume resume) {
  const auto at = find_id(paused_, resume.id);
  if (at == paused_.end()) return;
  if (resume.promoted) (*at)->prepared.batch = false;
  waiting_.splice(waiting_.end(), paused_, at);
}

void StepLoop::on(Pause pause) {
  if (const auto waits = find_id(waiting_, pause.id); waits != waiting_.end()) return paused_.splice(paused_.end(), waiting_, waits);
  const auto at = find_id(running_, pause.id);
  if (at == running_.end()) return;
  retire(**at, true);
  paused_.splice(paused_.end(), running_, at);
}

void StepLoop::remove_cancelled() {
  std::vector<uint64_t> ids;
  {
    const std::lock_guard lock(mutex_);
    ids.swap(cancelled_);
  }
  for (const uint64_t id : ids) {
    if (const auto at = find_id(running_, id); at != running_.end()) {
      retire(**at, true);
      forget(**at);
      running_.erase(at);
    } else if (const auto paused = find_id(paused_, id); paused != paused_.end()) {  // its pause came between
      forget(**paused);
      paused_.erase(paused);
    }
    sink_.removed(id);
  }
}

// What it has computed stays as a finished sequence, which anybody's admission may evict: its cells are free for use.
void StepLoop::retire(Request& request, bool keep) {
  {
    const std::lock_guard lock(mutex_);
    running_ids_.erase(request.prepared.id);
    if (!request.ended) without_cells_.insert(request.prepared.id);
  }
  if (keep) {
    table_.hold(request.sequence);
  } else {
    decoder_.clear(request.sequence);
    table_.free(request.sequence);
  }
  request.sequence = -1;
  admission_changed_ = held_changed_ = true;
}

void StepLoop::forget(Request& request) {
  {
    const std::lock_guard lock(mutex_);
    without_cells_.erase(request.prepared.id);
  }
  share_.leave(request.prepared.flow);
}

// ---- who gets a sequence

bool StepLoop::goes_before(const Request& a, const Request& b) const {
  if (a.prepared.batch != b.prepared.batch) return !a.prepared.batch;
  if (const int order = share_.compare(a.prepared.flow, b.prepared.flow); order != 0) return order < 0;
  return a.prepared.id < b.prepared.id;  // as they came to the daemon: what was prepared sooner may have come later
}

void StepLoop::admit_waiting() {
  for (const auto& request : waiting_) {
    // What it waited for has got so far, or is gone.
    const Request* const other = request->waits_for;
    if (other == nullptr) continue;
    const bool runs = std::ranges::any_of(running_, [other](const auto& each) { return each.get() == other; });
    if (!runs || missing(*other) <= 1) admission_changed_ = true;
  }
  if (!std::exchange(admission_changed_, false)) return;
  std::vector<Request*> order;
  for (const auto& request : waiting_) order.push_back(request.get());
  std::ranges::sort(order, [this](const Request* a, const Request* b) { return goes_before(*a, *b); });
  engine_wire::Step announced;
  for (Request* const request : order) {
    if (running_.size() >= options_.sequences) break;
    if (waits_for_prefix(*request)) continue;
    const Admitted admitted = try_admit(*request, announced);
    if (admitted == Admitted::kNoCells) break;  // nobody overtakes the one that waits for cells
    if (admitted == Admitted::kGone) continue;  // taken out with the next commands
    running_.splice(running_.end(), waiting_, std::ranges::find_if(waiting_, [request](const auto& each) { return each.get() == request; }));
  }
  if (announced.entries.empty()) return;
  park_held();
  sink_.step(std::move(announced));
}

// True if another request is computing a good deal more of its beginning than anything that is held now.
bool StepLoop::waits_for_prefix(Request& request) {
  request.waits_for = nullptr;
  if (decoder_.is_recurrent()) return false;  // its state cannot be cut where the two part
  size_t held = parked_.find(request.tokens, request.prepared.scope, false).shared;
  for (size_t i = 0; i < table_.size(); ++i) {
    const auto& sequence = table_[static_cast<SequenceId>(i)];
    if (sequence.state == SequenceTable::State::kFree || sequence.scope != request.prepared.scope) continue;
    held = std::max(held, SequenceTable::common_prefix(sequence.tokens, request.tokens));
  }
  size_t most = held + kWorthWaiting - 1;
  for (const auto& running : running_) {
    if (running->prepared.scope != request.prepared.scope || missing(*running) <= 1) continue;
    const size_t shared = whole_spans(SequenceTable::common_prefix(running->tokens, request.tokens), request.prepared.spans);
    if (shared <= most) continue;
    most = shared;
    request.waits_for = running.get();
  }
  return request.waits_for != nullptr;
}

StepLoop::Admitted StepLoop::try_admit(Request& request, engine_wire::Step& announced) {
  const size_t prompt = request.prepared.prompt.size();
  request.budget = static_cast<uint32_t>(std::min<size_t>(request.prepared.max_tokens, options_.n_ctx - prompt));
  const size_t limit = prompt + request.budget;
  const auto make_plan = [&] {
    return table_.plan(request.tokens, limit, request.prepared.scope, [&](SequenceId donor, size_t shared) {
      return usable_prefix(donor, whole_spans(shared, request.prepared.spans));
    });
  };
  auto plan = make_plan();
  while (!plan && pause_batch_for(request)) plan = make_plan();
  if (!plan) return Admitted::kNoCells;
  {
    const std::lock_guard lock(mutex_);
    if (without_cells_.erase(request.prepared.id) == 0) return Admitted::kGone;  // cancelled just now
    running_ids_.insert(request.prepared.id);
  }
  request.sequence = place(request, limit, *plan);
  const bool first_batch = request.prepared.batch && std::ranges::none_of(running_, [](const auto& other) { return other->prepared.batch; });
  if (first_batch) batch_served_ = Clock::now();  // none was kept waiting until now
  if (!std::exchange(request.announced, true)) {
    request.cached = static_cast<uint32_t>(table_[request.sequence].tokens.size());
    announced.entries.push_back({.id = request.prepared.id, .started = true, .prompt_done = request.cached});
  }
  held_changed_ = true;
  return Admitted::kYes;
}

// An interactive request that lacks cells gets those of batch requests, the latest first; they wait for cells then.
bool StepLoop::pause_batch_for(const Request& request) {
  if (request.prepared.batch) return false;
  size_t kept = request.prepared.prompt.size() + request.budget;  // cells that would be needed at most without any batch request
  for (const auto& running : running_) kept += running->prepared.batch ? 0 : table_[running->sequence].limit;
  if (kept > options_.kv_cells) return false;
  const auto last = std::ranges::find_if(running_.rbegin(), running_.rend(), [](const auto& running) { return running->prepared.batch; });
  if (last == running_.rend()) return false;
  retire(**last, true);
  waiting_.splice(waiting_.end(), running_, std::prev(last.base()));
  return true;
}

// Gives the request its sequence, with the longest beginning that the cells or a parked state have.
SequenceId StepLoop::place(const Request& request, size_t limit, const SequenceTable::Admission& plan) {
  const uint64_t scope = request.prepared.scope;
  const auto find_parked = [&] {
    auto match = parked_.find(request.tokens, scope, has_whole_states(decoder_));
    const size_t whole = whole_spans(match.shared, request.prepared.spans);
    if (whole != match.shared && has_whole_states(decoder_)) match.state = nullptr;
    match.shared = whole;
    return match;
  };
  const auto parked = find_parked();
  if (parked.state == nullptr || parked.shared < plan.shared + kWorthRestoring) {
    carry_out(plan, limit, scope);
    return plan.sequence;
  }
  // A plan without a donor: it needs no more cells than are free, because the prefix of the other plan is not taken.
  const auto cold = table_.plan(request.tokens, limit, scope, [](SequenceId, size_t) { return size_t{0}; });
  if (!cold) {
    carry_out(plan, limit, scope);
    return plan.sequence;
  }
  carry_out(*cold, limit, scope);  // may park others and so move states
  const size_t restored = restore(cold->sequence, find_parked());
  for (size_t i = 0; i < restored; ++i) table_.append(cold->sequence, request.tokens[i]);
  return cold->sequence;
}

// Tokens of the state that are in the cells afterwards.
size_t StepLoop::restore(SequenceId sequence, const ParkedStates::Match& parked) {
  if (parked.state == nullptr) return 0;
  const bool whole = parked.shared == parked.state->tokens.size();
  const bool restored = decoder_.restore(sequence, parked.state->bytes) && (whole || decoder_.cut(sequence, parked.shared));
  if (restored && usable_prefix(sequence, parked.shared) == parked.shared) return parked.shared;
  decoder_.clear(sequence);
  return 0;
}

// How much of the first `shared` tokens of a sequence another one can start from. Sliding-window and recurrent memories keep less than all
// positions (architecture §4).
size_t StepLoop::usable_prefix(SequenceId donor, size_t shared) {
  if (decoder_.is_recurrent()) {
    const auto& from = table_[donor];
    return from.tokens.empty() || from.tokens.size() == shared ? shared : 0;  // empty: restored just now
  }
  if (const size_t window = decoder_.window(); window > 0) {
    const auto first_needed = static_cast<int64_t>(shared > window ? shared - window : 0);
    const int64_t first_held = decoder_.first_position(donor);
    if (first_held < 0 || first_held > first_needed) return 0;
  }
  return shared;
}

void StepLoop::carry_out(SequenceTable::Admission admission, size_t limit, uint64_t scope) {
  for (const SequenceId id : admission.evict) evict(id);
  if (admission.donor >= 0 && admission.donor == admission.sequence) {
    if (const size_t length = table_[admission.donor].tokens.size(); length > admission.shared) {
      if (4 * (length - admission.shared) >= length && is_worth_parking(admission.donor)) park(admission.donor);  // a good part is cut off
      if (!decoder_.cut(admission.donor, admission.shared)) {
        decoder_.clear(admission.donor);  // this memory cannot be cut: start cold
        admission.evict.push_back(admission.donor);
        admission.donor = -1;
        admission.shared = 0;
      }
    }
  } else if (admission.donor >= 0) {
    decoder_.share(admission.donor, admission.sequence, admission.shared);
  }
  table_.admit(admission, limit, scope);
}

// ---- finished sequences

// A copy of what others hold anyway is not worth its time: most of its cells are shared.
bool StepLoop::is_worth_parking(SequenceId id) const {
  return parked_.budget() > 0 && 4 * table_.exclusive_cells(id) >= table_[id].tokens.size();
}

// A long copy would be felt by everybody who streams: then the state is given up instead.
void StepLoop::park(SequenceId id) {
  const auto& sequence = table_[id];
  if (parked_.covers(sequence.tokens, sequence.scope) || !is_quick_to_copy(id)) return;
  const auto begin = Clock::now();
  auto bytes = decoder_.save(id);
  const double took_ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  copy_ms_per_token_ = took_ms / static_cast<double>(std::max<size_t>(1, sequence.tokens.size()));
  if (!bytes.empty()) parked_.add({sequence.scope, sequence.tokens, std::move(bytes)});
}

bool StepLoop::is_quick_to_copy(SequenceId id) const {
  const bool somebody_streams = std::ranges::any_of(running_, [](const auto& request) { return request->began > 0; });
  return !somebody_streams || copy_ms_per_token_ * static_cast<double>(table_[id].tokens.size()) <= kLongestCopyMs;
}

// Frees a finished sequence's cells, with a copy of it in host memory.
void StepLoop::evict(SequenceId id) {
  if (is_worth_parking(id)) park(id);
  decoder_.clear(id);
  table_.free(id);
}

// Finished sequences may have half of the cells. While others run, what is more leaves, the least recently used first: each step looks
// at every used cell, if only at its mask. When nobody runs it is copied only, so that nobody has to wait for that who needs the cells.
void StepLoop::park_held() {
  if (!std::exchange(held_changed_, false)) return;
  const bool idle = running_.empty();
  std::vector<SequenceId> held;
  size_t cells = 0;
  for (size_t i = 0; i < table_.size(); ++i) {
    const auto id = static_cast<SequenceId>(i);
    if (table_[id].state != SequenceTable::State::kHeld || !is_worth_parking(id) || !is_quick_to_copy(id)) continue;
    held.push_back(id);
    cells += table_.exclusive_cells(id);
  }
  std::ranges::sort(held, {}, [this](SequenceId id) { return table_[id].last_used; });
  for (const SequenceId id : held) {
    if (2 * cells <= options_.kv_cells) return;
    cells -= table_.exclusive_cells(id);
    idle ? park(id) : evict(id);
  }
}

void StepLoop::drop_held() {
  for (size_t i = 0; i < table_.size(); ++i) {
    const auto id = static_cast<SequenceId>(i);
    if (table_[id].state != SequenceTable::State::kHeld) continue;
    decoder_.clear(id);
    table_.free(id);
  }
}

// ---- a step

// While an interactive request waits for its first token, batch requests stand aside, but not for ever.
bool StepLoop::sits_out(const Request& request) const {
  if (!request.claim->prepared.batch) return false;
  const bool somebody_starts = std::ranges::any_of(running_, [this](const auto& other) { return !other->claim->prepared.batch && other->began == 0; });
  return somebody_starts && Clock::now() - batch_served_ < kLongestWithoutTurn;
}

// Whoever computes a prefix that a better one waits for has that one's turn.
void StepLoop::choose_claims() {
  for (const auto& request : running_) request->claim = request.get();
  for (const auto& waiting : waiting_) {
    if (waiting->waits_for == nullptr) continue;
    const auto at = std::ranges::find_if(running_, [&](const auto& running) { return running.get() == waiting->waits_for; });
    if (at != running_.end() && goes_before(*waiting, *(*at)->claim)) (*at)->claim = waiting.get();
  }
}

// Prompt tokens of this request that may join a step of `streams`. A steady pace is owed to interactive streams that were there before it came,
// and to those that have had less than their share. Without one the step takes `most_ms` at most.
size_t StepLoop::slice_for(const Request& request, size_t streams, double most_ms) const {
  const size_t most = decoder_.batch_capacity() - std::min(decoder_.batch_capacity(), streams);
  const bool polite = std::ranges::any_of(running_, [&](const auto& other) {
    if (other->began == 0 || other->in_batch == 0 || other->claim->prepared.batch) return false;
    return request.claim->prepared.batch || other->began < request.claim->arrived ||
           share_.compare(other->claim->prepared.flow, request.claim->prepared.flow) < 0;
  });
  if (polite) return times_.polite_slice(streams, most);
  const double target_ms = wasted_ms_ > 0 || decoder_.is_recurrent() ? kShortStepMs : kLongStepMs;
  const size_t all = times_.within(std::min(target_ms, most_ms), decoder_.batch_capacity());
  return std::min(most, std::max<size_t>(all > streams ? all - streams : 0, 1));
}

void StepLoop::add_to_batch(Request& request, size_t count) {
  const size_t computed = table_[request.sequence].tokens.size();
  for (size_t i = computed; i < computed + count; ++i) {
    const bool last = i + 1 == request.tokens.size();
    if (last) request.output = static_cast<int32_t>(batch_.size());
    batch_.push_back({request.tokens[i], static_cast<uint32_t>(i), request.sequence, last});
  }
  request.in_batch = count;
}

// By class, then level by level by the share. Shares count in quanta: with single tokens all prompts would advance slice by slice together and
// be ready together, at the end. Within a quantum the node goes first that has the shortest rest of a prompt, so that most are ready early.
void StepLoop::order_prompts(std::vector<Request*>& prompts) const {
  const auto levels = [](const Flow& flow) {
    return std::array{Flow{flow[kFlowUser]}, Flow{flow[kFlowUser], flow[kFlowProcess]}, flow};
  };
  constexpr size_t kLevels = std::tuple_size_v<Flow>;
  std::array<std::map<Flow, size_t>, kLevels> shortest;
  for (const Request* const prompt : prompts) {
    const auto nodes = levels(prompt->claim->prepared.flow);
    for (size_t level = 0; level < kLevels; ++level) {
      const size_t rest = missing(*prompt);
      const auto at = shortest[level].try_emplace(nodes[level], rest).first;
      at->second = std::min(at->second, rest);
    }
  }
  using Key = std::array<uint64_t, 1 + 2 * kLevels + 2>;
  std::vector<std::pair<Key, Request*>> order;
  for (Request* const prompt : prompts) {
    const Flow& flow = prompt->claim->prepared.flow;
    const auto nodes = levels(flow);
    const auto served = share_.served(flow);
    Key key{prompt->claim->prepared.batch};
    for (size_t level = 0; level < kLevels; ++level) {
      key[1 + 2 * level] = served[level] / kShareQuantum;
      key[2 + 2 * level] = shortest[level].at(nodes[level]);
    }
    key[1 + 2 * kLevels] = missing(*prompt);
    key[2 + 2 * kLevels] = prompt->prepared.id;
    order.emplace_back(key, prompt);
  }
  std::ranges::sort(order);
  std::ranges::transform(order, prompts.begin(), [](const auto& entry) { return entry.second; });
}

void StepLoop::build_batch() {
  batch_.clear();
  media_ = nullptr;
  if (running_.empty()) return;
  choose_claims();
  std::vector<Request*> prompts;
  bool streams = false;
  for (const auto& request : running_) {
    request->in_batch = 0;
    request->output = -1;
    if (sits_out(*request)) continue;
    if (missing(*request) > 1 || next_span(*request) != nullptr) {
      prompts.push_back(request.get());
    } else if (batch_.size() < decoder_.batch_capacity()) {
      add_to_batch(*request, 1);
      streams = true;
    }
  }
  protected_step_ = protected_step_ && streams;
  if (protected_step_) return;
  order_prompts(prompts);
  const size_t decoding = batch_.size();
  if (prompts.empty()) return;
  // A span is a step of its own; then the streams get as much time as it took.
  if (next_span(*prompts.front()) != nullptr && !(streams && Clock::now() < media_due_)) return take_media(*prompts.front());
  const double most_ms = kBesideFirstToken * times_.predicted_ms(decoding + missing(*prompts.front()));  // it shall not wait long for the others
  for (Request* const request : prompts) {
    if (next_span(*request) != nullptr) continue;
    const size_t taken = batch_.size() - decoding;  // by prompts that go before it
    const size_t slice = slice_for(*request, decoding, most_ms);
    if (slice <= taken) break;
    const size_t computed = table_[request->sequence].tokens.size();
    const size_t text = end_of_text(computed, request->tokens.size(), request->prepared.spans) - computed;
    add_to_batch(*request, std::min(text, slice - taken));
  }
}

const PromptSpan* StepLoop::next_span(const Request& request) const {
  return span_at(table_[request.sequence].tokens.size(), request.prepared.spans);
}

void StepLoop::take_media(Request& request) {
  for (const auto& other : running_) {
    other->in_batch = 0;
    other->output = -1;
  }
  batch_.clear();
  media_ = &request;
  const PromptSpan& span = *next_span(request);
  request.in_batch = span.length;
  if (span.end() == request.tokens.size()) request.output = static_cast<int32_t>(span.length - 1);
}

// True if the batch was computed. Otherwise nothing of it is left and it is built anew in the next step.
bool StepLoop::compute(engine_wire::Step& step) {
  const double predicted_ms = media_ != nullptr ? media_ms_per_token_ * static_cast<double>(media_->in_batch) : times_.predicted_ms(batch_.size());
  const auto begin = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    if (!cancelled_.empty() || !inbox_.empty() || stopping_) return false;
    abortable_ = !protected_step_ && !decoder_.is_recurrent();  // an abort leaves half-moved states behind there
    aborted_by_cancel_ = false;
    bool batch_only = true;
    for (const auto& request : running_) {
      if (request->in_batch == 0) continue;
      computing_.insert(request->prepared.id);
      batch_only = batch_only && request->claim->prepared.batch;
    }
    const bool starved = batch_only && begin - batch_served_ > kLongestWithoutTurn;
    const bool keeps = decoder_.is_recurrent() || starved || media_ != nullptr;  // media would be encoded again, which may take seconds
    yields_above_ = keeps ? Clock::duration::max() : batch_only ? kWorthAborting : kLongWait;
    decoder_.abort(false);
    computing_until_ = begin + std::chrono::microseconds(static_cast<int64_t>(predicted_ms * 1000));
  }
  if (predicted_ms > options_.long_step_ms) sink_.long_step(static_cast<uint32_t>(predicted_ms));
  const auto outcome = compute_batch();
  const auto end = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    computing_.clear();
    protected_step_ = outcome == Decoder::Outcome::kAborted && aborted_by_cancel_;
  }
  const double took_ms = std::chrono::duration<double, std::milli>(end - begin).count();
  if (outcome == Decoder::Outcome::kComputed) {
    if (media_ != nullptr) {
      media_ms_per_token_ = took_ms / static_cast<double>(media_->in_batch);
      media_due_ = end + (end - begin);
    } else {
      times_.learn(batch_.size(), took_ms);
    }
    wasted_ms_ = std::max(0.0, wasted_ms_ - kWasteWorth * took_ms);
    for (const auto& request : running_) {
      if (request->in_batch > 0 && request->claim->prepared.batch) batch_served_ = end;
    }
    return true;
  }
  undo_batch();
  if (outcome == Decoder::Outcome::kAborted) {
    wasted_ms_ += took_ms;
    return false;
  }
  const bool half_moved = decoder_.is_recurrent() && decoder_touched_;  // states of all sequences may be
  if (half_moved || outcome == Decoder::Outcome::kNoCells) drop_held();
  const char* const why = outcome == Decoder::Outcome::kNoCells ? "the model could not compute: no KV cells" : "the model could not compute";
  fail_running(step, why, half_moved);
  return false;
}

// `all`: also those that were not in the batch.
void StepLoop::fail_running(engine_wire::Step& step, const std::string& why, bool all) {
  for (auto at = running_.begin(); at != running_.end();) {
    Request& request = **at;
    if (!all && request.in_batch == 0) {
      ++at;
      continue;
    }
    step.entries.push_back({.id = request.prepared.id, .stop_reason = StopReason::kError, .error_code = Code::kInternal, .message = why});
    request.ended = true;
    retire(request, false);
    forget(request);
    at = running_.erase(at);
  }
}

Decoder::Outcome StepLoop::compute_batch() {
  decoder_touched_ = media_ == nullptr;
  if (media_ == nullptr) return decoder_.compute(batch_);
  const PromptSpan& span = *next_span(*media_);
  // Nobody can tell how long an encoder takes: that it goes on is told instead.
  const auto go_on = [this, told = Clock::now()]() mutable {
    if (Clock::now() - told < kTellAlive) return true;
    told = Clock::now();
    sink_.step(engine_wire::Step{});
    return true;
  };
  const auto encoded = decoder_.encode_media(*span.media, go_on);
  if (encoded != Decoder::Outcome::kComputed) return encoded;
  decoder_touched_ = true;
  sink_.long_step(static_cast<uint32_t>(times_.predicted_ms(span.length)));
  return decoder_.compute_media({.media = span.media.get(),
                                 .tokens = std::span(media_->tokens).subspan(span.begin, span.length),
                                 .position = static_cast<uint32_t>(span.begin),
                                 .sequence = media_->sequence,
                                 .wants_logits = media_->output >= 0});
}

void StepLoop::undo_batch() {
  for (const auto& request : running_) {
    if (request->in_batch == 0) continue;
    const size_t computed = table_[request->sequence].tokens.size();
    if (computed > 0 && decoder_.cut(request->sequence, computed)) continue;
    decoder_.clear(request->sequence);  // this memory cannot be cut, or it is the first slice: computed again
    table_.trim(request->sequence, 0);
  }
}

void StepLoop::accept_tokens(engine_wire::Step& step) {
  for (const auto& held : running_) {
    Request& request = *held;
    if (request.in_batch == 0) continue;
    const size_t computed = table_[request.sequence].tokens.size();
    for (size_t i = 0; i < request.in_batch; ++i) table_.append(request.sequence, request.tokens[computed + i]);
    share_.charge(request.prepared.flow, request.in_batch);
    engine_wire::Step::Entry entry{.id = request.prepared.id};
    if (request.generated == 0) {
      entry.prompt_done = static_cast<uint32_t>(computed + request.in_batch);
      entry.computed = static_cast<uint32_t>(request.in_batch);
    }
    if (request.output >= 0) next_token(request, entry);
    if (entry.tokens > 0 || entry.computed > 0 || entry.stop_reason) step.entries.push_back(std::move(entry));
  }
}

void StepLoop::next_token(Request& request, engine_wire::Step::Entry& entry) {
  if (request.began == 0) request.began = ++events_;
  if (request.generated == request.budget) return finish(request, entry, StopReason::kLength);  // max_tokens 0
  const auto token = request.prepared.sample(decoder_.logits(static_cast<size_t>(request.output)));
  if (!token) return fail_request(request, entry, token.error());
  if (decoder_.is_end(*token)) return finish(request, entry, StopReason::kEnd);
  ++request.generated;
  request.tokens.push_back(*token);
  std::string piece;
  decoder_.append_piece(*token, piece);
  entry.tokens = 1;
  AnswerStream& answer = *request.prepared.answer;
  if (answer.push(piece, entry.pieces)) return finish(request, entry, answer.is_turn_end() ? StopReason::kEnd : StopReason::kStopSequence);
  if (request.generated == request.budget) finish(request, entry, StopReason::kLength);
}

void StepLoop::fail_request(Request& request, engine_wire::Step::Entry& entry, const Error& error) {
  entry.message = error.message;
  entry.error_code = error.code;
  entry.stop_reason = StopReason::kError;
  request.ended = true;
}

void StepLoop::finish(Request& request, engine_wire::Step::Entry& entry, StopReason reason) {
  AnswerStream& answer = *request.prepared.answer;
  if (auto finished = answer.finish(reason == StopReason::kEnd, entry.pieces); !finished) return fail_request(request, entry, finished.error());
  entry.stop_reason = reason == StopReason::kEnd && answer.has_calls() ? StopReason::kToolUse : reason;
  entry.tool_choice_unsatisfied = request.prepared.call_required && !answer.has_calls();
  entry.usage = {static_cast<uint32_t>(request.prepared.prompt.size()), request.generated, request.cached};
  request.ended = true;
}

}  // namespace inferd::engine
