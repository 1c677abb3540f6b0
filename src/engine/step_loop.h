// The step loop: takes requests that are prepared, gives them sequences, and in each step computes one token of every running sequence
// and slices of new prompts in one batch, samples, and hands everything that came out to the sink as one message.
// One thread runs it (run()); start() and cancel() may be called from any thread. It owns the llama context and the KV cache's
// bookkeeping; the model outlives it.
#pragma once

#include <ggml.h>
#include <llama.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "engine/model.h"
#include "engine/parked_states.h"
#include "engine/sampler.h"
#include "engine/sequence_table.h"
#include "engine/text_stream.h"
#include "engine_wire/messages.h"

namespace inferd::engine {

/// A request that has been rendered, tokenised and checked.
struct PreparedRequest {
  uint64_t id = 0;
  std::vector<Token> prompt;     // 1 to n_ctx - 1 tokens
  uint32_t max_tokens = 0;
  std::unique_ptr<Sampler> sampler;
  TextStream text;
};

class StepLoop {
 public:
  struct Options {
    uint32_t n_ctx = 8192;     // limit of one request
    uint32_t sequences = 8;    // running at once
    uint32_t kv_cells = 16384;
    uint32_t threads = 1;
  };
  struct Sink {
    std::function<void(engine_wire::Step)> step;
    std::function<void(uint64_t id)> removed;
  };

  static Result<std::unique_ptr<StepLoop>> create(const Model& model, Options options, Sink sink);
  ~StepLoop();

  const Options& options() const { return options_; }

  /// Any thread.
  void start(PreparedRequest request);
  /// Any thread. True: `removed` is called, now or within milliseconds. False: it is not known here (any more).
  bool cancel(uint64_t id);
  /// Ends run() after the current step.
  void stop();

  /// Steps until stop(). The step thread.
  void run();

 private:
  using Clock = std::chrono::steady_clock;
  struct Running {
    explicit Running(PreparedRequest prepared) : request(std::move(prepared)) {}
    PreparedRequest request;
    SequenceId sequence = -1;
    std::vector<Token> tokens;      // prompt, then answer; those not yet in the table are still to be computed
    uint32_t cached = 0;            // prompt tokens that were reused
    uint32_t generated = 0;
    uint32_t budget = 0;            // tokens that it may generate
    size_t in_batch = 0;            // tokens of it in the current batch
    int32_t output = -1;            // index of its logits in the batch; -1: none are due
    bool ended = false;
  };

  StepLoop(const Model& model, Options options, Sink sink);
  bool wait_for_work();
  void admit_waiting();
  size_t usable_prefix(SequenceId donor, size_t shared) const;
  void carry_out(SequenceTable::Admission admission, size_t limit);
  SequenceTable::Admission place(const PreparedRequest& request, size_t limit, const SequenceTable::Admission& plan);
  size_t restore(SequenceId sequence, const ParkedStates::Match& parked);
  void park(SequenceId id);
  void park_held();
  void remove_cancelled();
  void build_batch();
  void add_to_batch(Running& running, size_t count);
  bool someone_streams() const;
  size_t prompt_slice() const;
  bool decode(engine_wire::Step& step);
  void undo_batch();
  void drop_held();
  void accept_tokens(engine_wire::Step& step);
  void next_token(Running& running, engine_wire::Step::Entry& entry);
  void finish(Running& running, engine_wire::Step::Entry& entry, StopReason reason);
  std::list<Running>::iterator retire(std::list<Running>::iterator at, bool keep);
  static bool should_abort(void* self);

  const Model& model_;
  const Options options_;
  const Sink sink_;
  std::unique_ptr<llama_context, decltype(&llama_free)> context_{nullptr, &llama_free};
  struct ThreadPool;
  std::unique_ptr<ThreadPool> thread_pool_;
  llama_memory_t memory_ = nullptr;
  SequenceTable table_;
  ParkedStates parked_;
  std::list<Running> running_;           // order of admission
  llama_batch batch_{};
  bool protected_step_ = false;          // after an abort: tokens of streams only, and not aborted, so that cancels starve nobody
  // Measured, moving averages; the first values are guesses that the first steps replace.
  double prompt_token_ms_ = 4;           // a token of a prompt slice
  double decode_step_ms_ = 50;           // a step without prompt slices

  std::mutex mutex_;
  // guarded by mutex_:
  std::list<PreparedRequest> waiting_;   // started, without a sequence yet; order of arrival
  std::vector<uint64_t> running_ids_;
  std::vector<uint64_t> cancelled_;      // of running ones, to be removed by the step thread
  std::vector<uint64_t> computing_;      // ids in the current batch
  Clock::time_point computing_until_{};  // when the current batch is expected to end
  bool abortable_ = true;                // the current batch
  bool stopping_ = false;
  std::condition_variable wake_;

  std::atomic<bool> abort_{false};
};

}  // namespace inferd::engine
