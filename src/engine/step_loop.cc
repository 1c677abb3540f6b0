#include "engine/step_loop.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>

#include <algorithm>
#include <utility>

namespace inferd::engine {
namespace {

constexpr uint32_t kBatchTokens = 512;      // at most so many tokens a step
constexpr size_t kSmallestSlice = 32;       // prompt tokens a step while others stream
constexpr double kTargetStepMs = 50;        // so that streams keep a steady pace beside a long prompt
constexpr auto kWorthAborting = std::chrono::milliseconds(25);  // a shorter rest of a step is waited for
constexpr size_t kParkedBytes = 512u << 20;  // finished sequences in host memory
constexpr size_t kWorthRestoring = 16;      // tokens more than the cache itself has of the prompt
constexpr double kSmoothing = 0.2;          // of the moving averages
constexpr uint32_t kMostCells = 1u << 30;
constexpr uint32_t kCellPadding = 256;      // llama.cpp rounds the pool up to this

void erase_id(std::vector<uint64_t>& ids, uint64_t id) { std::erase(ids, id); }

}  // namespace

// The compute threads stay between steps; the CPU backend is loaded at run time, so its functions are looked up by name.
struct StepLoop::ThreadPool {
  ggml_threadpool_t pool = nullptr;
  decltype(&ggml_threadpool_free) free = nullptr;
  explicit ThreadPool(uint32_t threads) {
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (device == nullptr) return;
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(device);
    const auto create = reinterpret_cast<decltype(&ggml_threadpool_new)>(ggml_backend_reg_get_proc_address(registry, "ggml_threadpool_new"));
    free = reinterpret_cast<decltype(&ggml_threadpool_free)>(ggml_backend_reg_get_proc_address(registry, "ggml_threadpool_free"));
    if (create == nullptr || free == nullptr) return;
    ggml_threadpool_params params = ggml_threadpool_params_default(static_cast<int>(threads));
    pool = create(&params);
  }
  ~ThreadPool() {
    if (pool != nullptr) free(pool);
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
};

StepLoop::StepLoop(const Model& model, Options options, Sink sink)
    : model_(model), options_(options), sink_(std::move(sink)), table_(2 * size_t{options.sequences}, options.kv_cells),
      parked_(kParkedBytes) {}

StepLoop::~StepLoop() {
  if (context_ && thread_pool_) llama_detach_threadpool(context_.get());
  if (batch_.token != nullptr) llama_batch_free(batch_);
}

Result<std::unique_ptr<StepLoop>> StepLoop::create(const Model& model, Options options, Sink sink) {
  options.kv_cells = (std::min(options.kv_cells, kMostCells) + kCellPadding - 1) / kCellPadding * kCellPadding;
  options.n_ctx = std::min(options.n_ctx, options.kv_cells);
  std::unique_ptr<StepLoop> loop(new StepLoop(model, options, std::move(sink)));
  llama_context_params params = llama_context_default_params();
  params.n_ctx = options.kv_cells;
  params.n_batch = params.n_ubatch = std::min(kBatchTokens, options.kv_cells);
  params.n_seq_max = static_cast<uint32_t>(loop->table_.size());
  params.n_outputs_max = params.n_seq_max;  // llama.cpp wants one for each sequence, although only running ones have outputs
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(options.threads);
  params.kv_unified = true;
  params.no_perf = true;
  params.abort_callback = &StepLoop::should_abort;
  params.abort_callback_data = loop.get();
  loop->context_.reset(llama_init_from_model(model.get(), params));
  if (!loop->context_) {
    return fail(Code::kInternal, "no context of " + std::to_string(options.kv_cells) + " cells can be made (too little memory?): lower --kv-cells or --n-ctx");
  }
  loop->memory_ = llama_get_memory(loop->context_.get());
  loop->thread_pool_ = std::make_unique<ThreadPool>(options.threads);
  if (loop->thread_pool_->pool != nullptr) llama_attach_threadpool(loop->context_.get(), loop->thread_pool_->pool, loop->thread_pool_->pool);
  loop->batch_ = llama_batch_init(static_cast<int32_t>(params.n_batch), 0, 1);
  return loop;
}

void StepLoop::start(PreparedRequest request) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(request));
  }
  wake_.notify_one();
}

bool StepLoop::cancel(uint64_t id) {
  {
    const std::lock_guard lock(mutex_);
    const auto waits = std::ranges::find(waiting_, id, &PreparedRequest::id);
    if (waits != waiting_.end()) {
      waiting_.erase(waits);
    } else if (std::ranges::find(running_ids_, id) != running_ids_.end()) {
      cancelled_.push_back(id);
      const bool computing = std::ranges::find(computing_, id) != computing_.end();
      const auto now = Clock::now();
      const bool long_rest = computing_until_ - now > kWorthAborting || now > computing_until_;  // beyond its time nobody knows
      if (computing && long_rest && abortable_) abort_ = true;
      wake_.notify_one();
      return true;
    } else {
      return false;
    }
  }
  sink_.removed(id);
  return true;
}

void StepLoop::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    abort_ = true;
  }
  wake_.notify_one();
}

bool StepLoop::should_abort(void* self) { return static_cast<StepLoop*>(self)->abort_.load(std::memory_order_relaxed); }

void StepLoop::run() {
  while (wait_for_work()) {
    remove_cancelled();
    admit_waiting();
    build_batch();
    if (batch_.n_tokens == 0) continue;
    engine_wire::Step step;
    if (decode(step)) accept_tokens(step);
    if (!step.entries.empty()) sink_.step(std::move(step));
    for (auto at = running_.begin(); at != running_.end();) at = at->ended ? retire(at, true) : std::next(at);
    if (!running_.empty()) park_held();
  }
}

bool StepLoop::wait_for_work() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return stopping_ || !waiting_.empty() || !cancelled_.empty() || !running_.empty(); });
  return !stopping_;
}

void StepLoop::remove_cancelled() {
  std::vector<uint64_t> ids;
  {
    const std::lock_guard lock(mutex_);
    ids.swap(cancelled_);
  }
  for (const uint64_t id : ids) {
    const auto at = std::ranges::find(running_, id, [](const Running& running) { return running.request.id; });
    if (at != running_.end()) retire(at, true);
    sink_.removed(id);
  }
}

// What it has computed stays as a finished sequence, which anybody's admission may evict: its cells are free for use.
std::list<StepLoop::Running>::iterator StepLoop::retire(std::list<Running>::iterator at, bool keep) {
  {
    const std::lock_guard lock(mutex_);
    erase_id(running_ids_, at->request.id);
  }
  if (keep) {
    table_.hold(at->sequence);
  } else {
    llama_memory_seq_rm(memory_, at->sequence, -1, -1);
    table_.free(at->sequence);
  }
  return running_.erase(at);
}

void StepLoop::admit_waiting() {
  engine_wire::Step announced;
  const std::lock_guard lock(mutex_);
  while (!waiting_.empty() && running_.size() < options_.sequences) {
    PreparedRequest& request = waiting_.front();
    const size_t prompt = request.prompt.size();
    const auto budget = static_cast<uint32_t>(std::min<size_t>(request.max_tokens, options_.n_ctx - prompt));
    const size_t limit = prompt + budget;
    const auto plan = table_.plan(request.prompt, limit, [this](SequenceId donor, size_t shared) { return usable_prefix(donor, shared); });
    if (!plan) break;  // order of arrival holds: nobody overtakes the one that waits for cells
    Running& running = running_.emplace_back(std::move(request));
    waiting_.pop_front();
    running.sequence = place(running.request, limit, *plan).sequence;
    running.tokens = running.request.prompt;
    running.cached = static_cast<uint32_t>(table_[running.sequence].tokens.size());
    running.budget = budget;
    running_ids_.push_back(running.request.id);
    announced.entries.push_back({.id = running.request.id, .tokens = 0, .text = {}, .started = true, .stop_reason = {}, .usage = {}, .error_code = {}});
  }
  if (announced.entries.empty()) return;
  park_held();
  sink_.step(std::move(announced));
}

// Gives the request its sequence, with the longest beginning that the cache or a parked state has.
SequenceTable::Admission StepLoop::place(const PreparedRequest& request, size_t limit, const SequenceTable::Admission& plan) {
  const auto parked = parked_.find(request.prompt);
  if (parked.state == nullptr || parked.shared < plan.shared + kWorthRestoring) {
    carry_out(plan, limit);
    return plan;
  }
  // A plan without a donor: it needs no more cells than are free, because the prefix of the other plan is not taken.
  const auto cold = table_.plan(request.prompt, limit, [](SequenceId, size_t) { return size_t{0}; });
  if (!cold) {
    carry_out(plan, limit);
    return plan;
  }
  carry_out(*cold, limit);
  for (size_t i = 0, restored = restore(cold->sequence, parked_.find(request.prompt)); i < restored; ++i) {
    table_.append(cold->sequence, request.prompt[i]);
  }
  return *cold;
}

// Tokens of the state that are in the cache afterwards.
size_t StepLoop::restore(SequenceId sequence, const ParkedStates::Match& parked) {
  if (parked.state == nullptr) return 0;
  const auto clear = [&] { llama_memory_seq_rm(memory_, sequence, -1, -1); };
  const bool whole = parked.shared == parked.state->tokens.size();
  if (!whole && model_.is_recurrent()) return 0;
  if (llama_state_seq_set_data(context_.get(), parked.state->bytes.data(), parked.state->bytes.size(), sequence) == 0) {
    clear();
    return 0;
  }
  if (!whole && !llama_memory_seq_rm(memory_, sequence, static_cast<llama_pos>(parked.shared), -1)) {
    clear();
    return 0;
  }
  const size_t window = model_.window();
  const llama_pos first_needed = window > 0 && parked.shared > window ? static_cast<llama_pos>(parked.shared - window) : 0;
  if (!model_.is_recurrent() && llama_memory_seq_pos_min(memory_, sequence) > first_needed) {
    clear();
    return 0;
  }
  return parked.shared;
}

// Saves a finished sequence to host memory and frees its cells.
void StepLoop::park(SequenceId id) {
  ParkedStates::State state{table_[id].tokens, {}};
  state.bytes.resize(llama_state_seq_get_size(context_.get(), id));
  const size_t written = llama_state_seq_get_data(context_.get(), state.bytes.data(), state.bytes.size(), id);
  if (written > 0 && written <= state.bytes.size()) parked_.add(std::move(state));
  llama_memory_seq_rm(memory_, id, -1, -1);
  table_.free(id);
}

// Each step looks at every used cell: sequences that nobody runs leave the cache while others do.
void StepLoop::park_held() {
  for (size_t i = 0; i < table_.size(); ++i) {
    const auto id = static_cast<SequenceId>(i);
    if (table_[id].state == SequenceTable::State::kHeld) park(id);
  }
}

// Sliding-window and recurrent memories keep less than all positions (architecture §4).
size_t StepLoop::usable_prefix(SequenceId donor, size_t shared) const {
  if (model_.is_recurrent()) {
    const bool whole = table_[donor].state == SequenceTable::State::kHeld && table_[donor].tokens.size() == shared;
    return whole ? shared : 0;
  }
  if (const size_t window = model_.window(); window > 0) {
    const llama_pos first_needed = shared > window ? static_cast<llama_pos>(shared - window) : 0;
    const llama_pos first_held = llama_memory_seq_pos_min(memory_, donor);
    if (first_held < 0 || first_held > first_needed) return 0;
  }
  return shared;
}

void StepLoop::carry_out(SequenceTable::Admission admission, size_t limit) {
  for (const SequenceId id : admission.evict) park(id);
  if (admission.donor == admission.sequence) {
    const auto from = static_cast<llama_pos>(admission.shared);
    if (table_[admission.donor].tokens.size() > admission.shared && !llama_memory_seq_rm(memory_, admission.donor, from, -1)) {
      llama_memory_seq_rm(memory_, admission.donor, -1, -1);  // this memory cannot be cut: start cold
      admission.evict.push_back(admission.donor);
      admission.donor = -1;
      admission.shared = 0;
    }
  } else if (admission.donor >= 0) {
    llama_memory_seq_cp(memory_, admission.donor, admission.sequence, 0, static_cast<llama_pos>(admission.shared));
  }
  table_.admit(admission, limit);
}

bool StepLoop::someone_streams() const {
  return std::ranges::any_of(running_, [&](const Running& r) { return r.tokens.size() - table_[r.sequence].tokens.size() == 1; });
}

// Prompt tokens that this step may take: all that fit while nobody streams, else what the target time allows.
size_t StepLoop::prompt_slice() const {
  if (!someone_streams()) return kBatchTokens;
  return std::clamp(static_cast<size_t>(kTargetStepMs / prompt_token_ms_), kSmallestSlice, size_t{kBatchTokens});
}

void StepLoop::add_to_batch(Running& running, size_t count) {
  const size_t computed = table_[running.sequence].tokens.size();
  for (size_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(batch_.n_tokens++);
    batch_.token[at] = running.tokens[computed + i];
    batch_.pos[at] = static_cast<llama_pos>(computed + i);
    batch_.n_seq_id[at] = 1;
    batch_.seq_id[at][0] = running.sequence;
    batch_.logits[at] = computed + i + 1 == running.tokens.size() ? 1 : 0;
    if (batch_.logits[at] != 0) running.output = static_cast<int32_t>(at);
  }
  running.in_batch = count;
}

void StepLoop::build_batch() {
  batch_.n_tokens = 0;
  protected_step_ = protected_step_ && someone_streams();
  const auto capacity = static_cast<size_t>(llama_n_batch(context_.get()));
  size_t slice = prompt_slice();
  for (Running& running : running_) {
    running.in_batch = 0;
    running.output = -1;
    const size_t missing = running.tokens.size() - table_[running.sequence].tokens.size();
    if (missing == 1 && static_cast<size_t>(batch_.n_tokens) < capacity) add_to_batch(running, 1);
  }
  if (protected_step_) return;
  for (Running& running : running_) {
    const size_t missing = running.tokens.size() - table_[running.sequence].tokens.size();
    if (missing <= 1) continue;
    const size_t count = std::min({missing, slice, capacity - static_cast<size_t>(batch_.n_tokens)});
    if (count == 0) break;
    add_to_batch(running, count);
    slice -= count;
  }
}

// True if the batch was computed. Otherwise nothing of it is left and it is built anew in the next step.
bool StepLoop::decode(engine_wire::Step& step) {
  size_t prompt_tokens = 0;
  for (const Running& running : running_) prompt_tokens += running.in_batch > 1 ? running.in_batch : 0;
  const double expected_ms = decode_step_ms_ * (prompt_tokens > 0 ? 0 : 1) + prompt_token_ms_ * static_cast<double>(prompt_tokens);
  const auto begin = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    if (!cancelled_.empty() || stopping_) return false;
    abortable_ = !protected_step_;
    abort_ = false;
    computing_until_ = begin + std::chrono::microseconds(static_cast<int64_t>(expected_ms * 1000));
    for (const Running& running : running_) {
      if (running.in_batch > 0) computing_.push_back(running.request.id);
    }
  }
  const int code = llama_decode(context_.get(), batch_);
  {
    const std::lock_guard lock(mutex_);
    computing_.clear();
  }
  if (code == 0) {
    protected_step_ = false;
    const double took_ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    if (prompt_tokens >= kSmallestSlice) {
      prompt_token_ms_ += kSmoothing * (took_ms / static_cast<double>(batch_.n_tokens) - prompt_token_ms_);
    } else if (prompt_tokens == 0) {
      decode_step_ms_ += kSmoothing * (took_ms - decode_step_ms_);
    }
    return true;
  }
  undo_batch();
  if (code == 2) {  // aborted for a cancel
    protected_step_ = true;
    return false;
  }
  if (code == 1 && table_.used_cells() > 0) drop_held();
  for (auto at = running_.begin(); at != running_.end();) {
    if (at->in_batch == 0) {
      ++at;
      continue;
    }
    step.entries.push_back({.id = at->request.id,
                            .tokens = 0,
                            .text = "the model could not compute (llama_decode " + std::to_string(code) + ")",
                            .started = false,
                            .stop_reason = StopReason::kError,
                            .usage = {},
                            .error_code = Code::kInternal});
    at = retire(at, false);
  }
  return false;
}

void StepLoop::undo_batch() {
  for (Running& running : running_) {
    if (running.in_batch == 0) continue;
    const size_t computed = table_[running.sequence].tokens.size();
    if (computed > 0 && llama_memory_seq_rm(memory_, running.sequence, static_cast<llama_pos>(computed), -1)) continue;
    llama_memory_seq_rm(memory_, running.sequence, -1, -1);  // this memory cannot be cut, or it is the first slice: computed again
    table_.trim(running.sequence, 0);
  }
}

void StepLoop::drop_held() {
  for (size_t i = 0; i < table_.size(); ++i) {
    const auto id = static_cast<SequenceId>(i);
    if (table_[id].state != SequenceTable::State::kHeld) continue;
    llama_memory_seq_rm(memory_, id, -1, -1);
    table_.free(id);
  }
}

void StepLoop::accept_tokens(engine_wire::Step& step) {
  for (Running& running : running_) {
    const size_t computed = table_[running.sequence].tokens.size();
    for (size_t i = 0; i < running.in_batch; ++i) table_.append(running.sequence, running.tokens[computed + i]);
    if (running.output < 0) continue;
    engine_wire::Step::Entry entry{.id = running.request.id, .tokens = 0, .text = {}, .started = false, .stop_reason = {}, .usage = {}, .error_code = {}};
    next_token(running, entry);
    if (entry.tokens > 0 || entry.stop_reason) step.entries.push_back(std::move(entry));
  }
}

void StepLoop::next_token(Running& running, engine_wire::Step::Entry& entry) {
  if (running.generated == running.budget) return finish(running, entry, StopReason::kLength);  // max_tokens 0
  const float* logits = llama_get_logits_ith(context_.get(), running.output);
  const auto token = running.request.sampler->sample(logits);
  if (!token) {
    entry.text = token.error().message;
    entry.error_code = token.error().code;
    entry.stop_reason = StopReason::kError;
    running.ended = true;
    return;
  }
  if (llama_vocab_is_eog(model_.vocab(), *token)) {
    running.request.text.finish(entry.text);
    return finish(running, entry, StopReason::kEnd);
  }
  ++running.generated;
  running.tokens.push_back(*token);
  std::string piece;
  model_.append_piece(*token, piece);
  entry.tokens = 1;
  if (running.request.text.push(piece, entry.text)) return finish(running, entry, StopReason::kEnd);
  if (running.generated == running.budget) {
    running.request.text.finish(entry.text);
    finish(running, entry, StopReason::kLength);
  }
}

void StepLoop::finish(Running& running, engine_wire::Step::Entry& entry, StopReason reason) {
  entry.stop_reason = reason;
  entry.usage = {static_cast<uint32_t>(running.request.prompt.size()), running.generated, running.cached};
  running.ended = true;
}

}  // namespace inferd::engine
