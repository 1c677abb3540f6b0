// The step loop: takes requests that are prepared, gives them sequences, and in each step computes one token of every running sequence
// and slices of new prompts in one batch, samples, and hands everything that came out to the sink as one message (doc/decisions/0007 says
// who goes first). One thread runs it (run()); start(), pause() and cancel() may be called from any thread. It owns the bookkeeping of the
// decoder's cells; the decoder outlives it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <variant>
#include <vector>

#include "base/error.h"
#include "engine/answer_stream.h"
#include "engine/decoder.h"
#include "engine/media_items.h"
#include "engine/parked_states.h"
#include "engine/sequence_table.h"
#include "engine/step_times.h"
#include "engine_wire/messages.h"
#include "request/fair_share.h"

namespace inferd::engine {

/// A request that has been rendered, tokenised and checked.
struct PreparedRequest {
  uint64_t id = 0;
  std::vector<Token> prompt;     // 1 to n_ctx - 1 tokens
  uint32_t max_tokens = 0;
  uint64_t scope = 0;            // reuses only what requests of the same scope computed
  Flow flow{};
  bool batch = false;
  std::move_only_function<Result<Token>(const float* logits)> sample;
  std::unique_ptr<AnswerStream> answer = {};
  bool call_required = false;    // the answer has to be a tool call
  std::vector<PromptSpan> spans = {};  // media in the prompt, in order
};

class StepLoop {
 public:
  struct Options {
    uint32_t n_ctx = 8192;           // limit of one request
    uint32_t sequences = 8;          // running at once
    uint32_t sequence_ids = 16;      // of the decoder: the others hold finished ones
    uint32_t kv_cells = 16384;
    uint64_t host_cache_bytes = 0;   // for finished sequences outside the cells
    double long_step_ms = 500;       // a step that may take longer is announced
  };
  struct Sink {
    std::function<void(engine_wire::Step)> step;
    std::function<void(uint64_t id)> removed;
    std::function<void(uint32_t predicted_ms)> long_step;
  };
  /// Other work of the step thread, a piece of it after each step: embeddings. wake() says that there is some.
  struct SideWork {
    std::function<bool()> has_work;
    std::function<void()> run_one;
  };

  StepLoop(Decoder& decoder, Options options, Sink sink, SideWork side_work = {});

  const Options& options() const { return options_; }

  /// Any thread. A new request.
  void start(PreparedRequest request);
  /// Any thread. Goes on with a paused one; `promoted`: it is batch no more. False: it is not known here.
  bool resume(uint64_t id, bool promoted);
  /// Any thread. Takes its sequence away until resume(). What it has computed becomes a finished sequence like any other.
  void pause(uint64_t id);
  /// Any thread. True: `removed` is called, now or within milliseconds. False: it is not known here (any more).
  bool cancel(uint64_t id);
  /// Any thread. There is side work.
  void wake();
  /// Ends run() after the current step.
  void stop();

  /// Steps until stop(). The step thread.
  void run();
  /// What is to be done now, at most one batch of it; false if there was nothing. For tests, which have no step thread.
  bool step_once();

 private:
  using Clock = std::chrono::steady_clock;
  struct Request {
    PreparedRequest prepared;
    std::vector<Token> tokens;      // prompt, then answer; those not yet in the table are still to be computed
    SequenceId sequence = -1;
    uint64_t arrived = 0;           // in the order of events_
    uint64_t began = 0;             // to stream; 0: not yet
    uint32_t cached = 0;            // prompt tokens that were reused at first
    uint32_t generated = 0;
    uint32_t budget = 0;            // tokens that it may generate
    bool announced = false;
    size_t in_batch = 0;            // tokens of it in the current batch
    int32_t output = -1;            // place of its logits in the batch; -1: none are due
    bool ended = false;
    const Request* waits_for = nullptr;  // a running one that computes the same beginning
    const Request* claim = nullptr;      // whose turn it has in this step: its own, or that of one who waits for it
  };
  using Requests = std::list<std::unique_ptr<Request>>;
  struct Resume {
    uint64_t id;
    bool promoted;
  };
  struct Pause {
    uint64_t id;
  };
  using Command = std::variant<PreparedRequest, Resume, Pause>;

  bool wait_for_work();
  bool has_side_work() const { return side_work_.has_work && side_work_.has_work(); }
  void take_commands();
  void on(PreparedRequest prepared);
  void on(Resume resume);
  void on(Pause pause);
  void remove_cancelled();
  bool goes_before(const Request& a, const Request& b) const;
  void admit_waiting();
  enum class Admitted { kYes, kNoCells, kGone };
  Admitted try_admit(Request& request, engine_wire::Step& announced);
  bool waits_for_prefix(Request& request);
  bool pause_batch_for(const Request& request);
  size_t usable_prefix(SequenceId donor, size_t shared);
  void carry_out(SequenceTable::Admission admission, size_t limit, uint64_t scope);
  SequenceId place(const Request& request, size_t limit, const SequenceTable::Admission& plan);
  size_t restore(SequenceId sequence, const ParkedStates::Match& parked);
  void evict(SequenceId id);
  void park_held();
  bool is_worth_parking(SequenceId id) const;
  void park(SequenceId id);
  bool is_quick_to_copy(SequenceId id) const;
  void drop_held();
  size_t missing(const Request& request) const { return request.tokens.size() - table_[request.sequence].tokens.size(); }
  bool sits_out(const Request& request) const;
  void build_batch();
  void choose_claims();
  void order_prompts(std::vector<Request*>& prompts) const;
  size_t slice_for(const Request& request, size_t streams, double most_ms) const;
  void add_to_batch(Request& request, size_t count);
  const PromptSpan* next_span(const Request& request) const;
  void take_media(Request& request);
  Decoder::Outcome compute_batch();
  bool compute(engine_wire::Step& step);
  void fail_running(engine_wire::Step& step, const std::string& why, bool all);
  void undo_batch();
  void accept_tokens(engine_wire::Step& step);
  void next_token(Request& request, engine_wire::Step::Entry& entry);
  void fail_request(Request& request, engine_wire::Step::Entry& entry, const Error& error);
  void finish(Request& request, engine_wire::Step::Entry& entry, StopReason reason);
  void retire(Request& request, bool keep);
  void forget(Request& request);

  Decoder& decoder_;
  const Options options_;
  const Sink sink_;
  const SideWork side_work_;
  SequenceTable table_;
  ParkedStates parked_;
  StepTimes times_;
  FairShare share_;
  Requests waiting_, paused_, running_;  // running: in the order of admission
  std::vector<Decoder::Input> batch_;
  Request* media_ = nullptr;             // instead of a batch: the span that this one is at
  Clock::time_point media_due_{};        // until then the streams have their turn
  bool decoder_touched_ = false;         // by the current batch
  double media_ms_per_token_ = 20;       // measured
  Clock::time_point side_work_due_{};    // until then the streams have their turn
  uint64_t events_ = 0;
  double copy_ms_per_token_ = 0.03;      // of a state into host memory; measured each time
  Clock::time_point batch_served_{};     // when a batch request last was in a batch that was computed
  double wasted_ms_ = 0;                 // in steps that were aborted, less a share of what was computed since
  bool admission_changed_ = false;       // since the last try to admit the first that waits for cells
  bool held_changed_ = false;            // since the last park_held()
  bool protected_step_ = false;          // after a cancel's abort: tokens of streams only, and not aborted, so that cancels starve nobody

  std::mutex mutex_;
  // guarded by mutex_:
  std::vector<Command> inbox_;
  std::set<uint64_t> without_cells_;     // ids in inbox_, waiting_ and paused_; one that is no more in here has been cancelled
  std::set<uint64_t> running_ids_;
  std::vector<uint64_t> cancelled_;      // of running ones, to be removed by the step thread
  std::set<uint64_t> computing_;         // ids in the current batch
  Clock::time_point computing_until_{};  // when the current batch is expected to end
  bool abortable_ = true;                // the current batch, by a cancel
  Clock::duration yields_above_{};       // the current batch yields to an interactive request that would have to wait longer
  bool aborted_by_cancel_ = false;
  bool stopping_ = false;
  std::condition_variable wake_;
};

}  // namespace inferd::engine
