// Requests for embeddings: checks and tokenises them on a prepare thread, packs their texts into batches, computes one batch at a time between
// the steps of the streams, and hands each request its vectors in the order of its texts. Owns its requests and the model's second context.
//
// announce() on the reader thread, add() on a prepare thread, run_one() on the step thread, cancel() and has_work() on any. The sink is called
// without a lock held: done and refused from add() and run_one(), removed from cancel() and run_one().
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/embed_model.h"
#include "engine/step_times.h"
#include "engine_wire/messages.h"

namespace inferd::engine {

class Embedder {
 public:
  struct Job {
    uint64_t id = 0;
    std::vector<std::string> input;      // with the task's prefix
    std::optional<uint32_t> dimensions;  // absent: the model's width; 0: empty vectors
  };
  struct Sink {
    std::function<void(engine_wire::Embedded)> done;
    std::function<void(uint64_t id, const Error& error)> refused;
    std::function<void(uint64_t id)> removed;
    std::function<void()> wake;                             // there is something for run_one()
    std::function<void(uint32_t predicted_ms)> long_batch;  // the next batch may take so long
  };

  /// `long_batch_ms`: a batch that may take longer is announced.
  Embedder(std::unique_ptr<EmbedModel> model, double long_batch_ms, Sink sink);

  uint32_t width() const { return model_->width(); }
  uint32_t n_ctx() const { return model_->n_ctx(); }

  /// From now on cancel() knows it. Before anything else of it.
  void announce(uint64_t id);
  /// Checks and tokenises it, which may take seconds, then lets it wait for its turn. Nothing happens if it was cancelled since announce().
  /// Refused: kInvalidRequest, with the place of the text and both numbers.
  /// False: it has ended already.
  bool add(Job job);
  /// Ends one that was announced and not added.
  void refuse(uint64_t id, const Error& error);
  /// True: `removed` is called, now or within milliseconds, and nothing else. False: it is not known here (any more).
  bool cancel(uint64_t id);

  bool has_work();
  /// Computes one batch; false if there was none.
  bool run_one();

 private:
  struct Request {
    uint64_t id = 0;
    uint32_t dimensions = 0;
    std::vector<Token> tokens;     // of all texts
    std::vector<uint32_t> begins;  // of each text in `tokens`, and the end
    std::vector<std::vector<uint32_t>> batches;
    std::vector<float> values;     // [texts][dimensions]
    size_t computed = 0;           // batches
    bool cancelled = false;        // guarded by mutex_
    bool owes_removed = false;     // guarded by mutex_: the step thread says it

    uint32_t length(uint32_t text) const { return begins[text + 1] - begins[text]; }
    std::span<const Token> text(uint32_t text) const { return std::span(tokens).subspan(begins[text], length(text)); }
  };
  using RequestPointer = std::shared_ptr<Request>;
  struct Part {  // of a batch: one request's
    RequestPointer request;
    std::optional<Error> error = {};
  };

  bool is_announced(uint64_t id);
  Status tokenize(Job& job, Request& request);
  std::vector<Part> choose_parts();
  void take_results(std::vector<Part>& parts);
  void end_batch(std::vector<Part> parts, bool computed);
  static engine_wire::Embedded result_of(Request& request);

  const std::unique_ptr<EmbedModel> model_;
  const double long_batch_ms_;
  const Sink sink_;
  StepTimes times_;  // step thread

  std::mutex mutex_;
  // guarded by mutex_:
  std::set<uint64_t> announced_;            // not in queue_ yet; one that is no more in here has been cancelled
  std::list<RequestPointer> queue_;         // whose turn it is, first
  std::vector<RequestPointer> computing_;   // in the batch that is computed now
};

}  // namespace inferd::engine
