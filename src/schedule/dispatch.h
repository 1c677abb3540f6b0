// One request's way through the scheduler: a place, a backend, its preparation while it waits, its start, its end; another backend
// if the first fails before anything was sent. I/O thread. A Dispatch lives until its backend has let go of it, also when whoever
// asked is gone, so that a place is free only when the backend's work is.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "backend/backend.h"
#include "os/asio.h"
#include "request/caller.h"
#include "schedule/admission.h"
#include "schedule/router.h"

namespace inferd {

/// What the session hears. Exactly one of done() and failed() ends it; after cancel() nothing comes.
class Outcome {
 public:
  virtual ~Outcome() = default;
  virtual void piece(const Piece& piece) = 0;
  /// Its place in the queue, 1 = next, whenever that changes. Like prefilled(), only for a request that wants progress.
  virtual void queued(size_t position) = 0;
  virtual void prefilled(uint32_t prompt_tokens_done, uint32_t prompt_tokens) = 0;
  virtual void done(const Completion& completion, const Backend& backend) = 0;
  virtual void failed(const Error& error) = 0;
};

/// What a failure says about the entry that reported it: its breaker hears of it. Not of the caller's own faults, nor where a backend mends itself.
void book_failure(Router::Entry& entry, Code code, Breaker::Time now);
/// Another entry may do better with the same request.
bool is_worth_another(Code code);

class Scheduler {
 public:
  Scheduler(os::asio::io_context& io, size_t waiting_places) : admission_(waiting_places), ageing_(io) {}

  Router& router() { return router_; }
  /// After the router's entries are complete and loaded.
  void set_limits();
  /// What admission knows the embeddings of an entry by: a place of their own beside its generations.
  static const void* embed_place(const Router::Entry& entry) { return &entry.breaker; }
  void set_waiting_places(size_t places) { admission_.set_waiting_places(places); }
  size_t waiting() const { return admission_.waiting(); }

 private:
  friend class Dispatch;
  friend class EmbedDispatch;
  void let_batch_age();

  Router router_;
  Admission admission_;
  os::asio::steady_timer ageing_;
  bool is_ageing_ = false;
};

class Dispatch final : public TokenSink, private Admission::Place, public std::enable_shared_from_this<Dispatch> {
 public:
  enum class Stage { kQueued, kPrepared, kRunning, kEnded };

  /// `on_removed` is called once after cancel(), when nothing of the request is left: with the stage it had and the backend.
  using OnRemoved = std::function<void(Stage, const Backend&)>;

  Dispatch(Scheduler& scheduler, std::shared_ptr<const GenerateRequest> request, Outcome& outcome)
      : scheduler_(scheduler), request_(std::move(request)), outcome_(&outcome) {}

  /// Begins; `outcome` may be called from inside.
  void submit(Breaker::Time now) { try_entry(0, now); }
  Stage stage() const { return stage_; }
  /// What is known of the usage so far.
  const Usage& usage() const { return usage_; }
  /// When the backend was told to run it; the epoch before that.
  Breaker::Time started() const { return started_; }
  /// Null before an entry was found.
  const Backend* backend() const { return entry_ == nullptr ? nullptr : entry_->backend; }

  /// The outcome is not called any more.
  void cancel(OnRemoved on_removed);

 private:
  Need need() const { return request_->surface == Surface::kV2 ? Need::kV2 : Need::kText; }
  void try_entry(size_t from, Breaker::Time now);
  void start_if_possible();
  void end(Router::Entry& entry);

  void granted() override;  // Place
  void paused() override;
  void moved(size_t position) override;
  void prepared(const Usage&) override;  // TokenSink
  void prefilled(uint32_t prompt_tokens_done, uint32_t computed) override;
  void answer(std::span<const Piece> pieces, uint32_t tokens) override;
  void done(const Completion& completion) override;
  void failed(const Error& error) override;
  void removed() override;

  Scheduler& scheduler_;
  const std::shared_ptr<const GenerateRequest> request_;
  Outcome* outcome_;  // null after cancel()
  OnRemoved on_removed_;
  Stage stage_ = Stage::kQueued;
  Stage cancelled_at_ = Stage::kQueued;
  bool piece_sent_ = false;
  Breaker::Time started_{};
  Usage usage_;
  Router::Entry* entry_ = nullptr;
  std::unique_ptr<Generation> generation_;
};

}  // namespace inferd
