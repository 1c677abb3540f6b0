// One request for embeddings on its way through the scheduler, as Dispatch is for text: a place, a backend, its end; another backend if the
// first fails. I/O thread. Lives until its backend has let go of it, also when whoever asked is gone.
#pragma once

#include <memory>

#include "schedule/dispatch.h"

namespace inferd {

/// What the session hears. Exactly one of the two ends it; after cancel() nothing comes.
class EmbedOutcome {
 public:
  virtual ~EmbedOutcome() = default;
  virtual void done(Embeddings embeddings, const Backend& backend) = 0;
  virtual void failed(const Error& error) = 0;
};

class EmbedDispatch final : public EmbedSink, private Admission::Place, public std::enable_shared_from_this<EmbedDispatch> {
 public:
  EmbedDispatch(Scheduler& scheduler, std::shared_ptr<const EmbedRequest> request, EmbedOutcome& outcome)
      : scheduler_(scheduler), request_(std::move(request)), outcome_(&outcome) {}

  /// Begins; `outcome` may be called from inside.
  void submit(Breaker::Time now) { try_entry(0, now); }
  /// When the backend was told to run it; the epoch before that.
  Breaker::Time started() const { return started_; }
  /// Null before an entry was found.
  const Backend* backend() const { return entry_ == nullptr ? nullptr : entry_->backend; }
  /// The outcome is not called any more.
  void cancel();

 private:
  void try_entry(size_t from, Breaker::Time now);
  void start_if_possible();
  void end();

  void granted() override { start_if_possible(); }  // Place
  void paused() override {}
  void moved(size_t) override {}
  void done(Embeddings embeddings) override;  // EmbedSink
  void failed(const Error& error) override;
  void removed() override;

  Scheduler& scheduler_;
  const std::shared_ptr<const EmbedRequest> request_;
  EmbedOutcome* outcome_;  // null after cancel()
  Breaker::Time started_{};
  Router::Entry* entry_ = nullptr;
  bool ended_ = false;     // this entry has let go of it
  std::unique_ptr<Generation> work_;
};

}  // namespace inferd
