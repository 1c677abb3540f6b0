#include "schedule/dispatch.h"

#include <utility>

namespace inferd {

namespace {
constexpr auto kAgeingInterval = std::chrono::seconds(1);
}

void book_failure(Router::Entry& entry, Code code, Breaker::Time now) {
  const bool of_backend = code == Code::kInternal || (code == Code::kBackendUnavailable && !entry.backend->mends_itself());
  if (of_backend) {
    entry.breaker.failed(now);
  } else {
    entry.breaker.no_verdict();
  }
}

bool is_worth_another(Code code) { return code != Code::kInvalidRequest && code != Code::kToolCallMalformed; }

void Scheduler::set_limits() {
  for (const auto& entry : router_.entries()) {
    admission_.set_limit(&entry, entry.backend->active_limit(), entry.backend->can_pause());
    admission_.set_limit(embed_place(entry), 1, false);
  }
}

// The clock runs only while batch requests wait: an idle daemon sleeps.
void Scheduler::let_batch_age() {
  if (is_ageing_ || !admission_.batch_waits()) return;
  is_ageing_ = true;
  ageing_.expires_after(kAgeingInterval);
  ageing_.async_wait([this](const os::ErrorCode& error) {
    if (error) return;
    is_ageing_ = false;
    admission_.tick();
    let_batch_age();
  });
}

void Dispatch::try_entry(size_t from, Breaker::Time now) {
  started_ = {};
  entry_ = scheduler_.router_.pick(need(), now, from);
  if (entry_ == nullptr) {
    stage_ = Stage::kEnded;
    return outcome_->failed(scheduler_.router_.why_none(need()));
  }
  if (auto entered = scheduler_.admission_.enter(entry_, {request_->priority, request_->flow, request_->progress}, *this); !entered) {
    stage_ = Stage::kEnded;
    return outcome_->failed(entered.error());
  }
  stage_ = Stage::kQueued;
  scheduler_.let_batch_age();
  entry_->breaker.sent(now);
  const auto self = shared_from_this();  // prepare() may end us
  auto generation = entry_->backend->prepare(request_, self);
  if (stage_ == Stage::kEnded || generation_) return;  // failed inside prepare(), perhaps on to the next entry
  generation_ = std::move(generation);
  start_if_possible();
}

void Dispatch::prepared(const Usage& planned) {
  if (stage_ != Stage::kQueued) return;
  usage_ = planned;
  stage_ = Stage::kPrepared;
  if (generation_) start_if_possible();  // else still inside prepare()
}

void Dispatch::granted() {
  if (stage_ != Stage::kRunning || outcome_ == nullptr) return start_if_possible();
  const auto self = shared_from_this();
  generation_->start(promoted());  // it was paused
}

void Dispatch::paused() {
  scheduler_.let_batch_age();
  if (stage_ == Stage::kRunning && outcome_ != nullptr) generation_->pause();
}

void Dispatch::moved(size_t position) {
  if (stage_ != Stage::kRunning && outcome_ != nullptr) outcome_->queued(position);
}

void Dispatch::prefilled(uint32_t prompt_tokens_done, uint32_t computed) {
  scheduler_.admission_.charge(*this, computed);
  if (outcome_ != nullptr && request_->progress) outcome_->prefilled(prompt_tokens_done, usage_.prompt_tokens);
}

void Dispatch::start_if_possible() {
  if (stage_ != Stage::kPrepared || !running() || !generation_ || outcome_ == nullptr) return;
  stage_ = Stage::kRunning;
  started_ = std::chrono::steady_clock::now();
  const auto self = shared_from_this();
  generation_->start(promoted());
}

void Dispatch::answer(std::span<const Piece> pieces, uint32_t tokens) {
  usage_.completion_tokens += tokens;
  scheduler_.admission_.charge(*this, tokens);
  const auto self = shared_from_this();
  for (const Piece& piece : pieces) {
    if (outcome_ == nullptr) return;
    piece_sent_ = true;
    outcome_->piece(piece);
  }
}

void Dispatch::end(Router::Entry& entry) {
  const auto self = shared_from_this();
  stage_ = Stage::kEnded;
  if (outcome_ == nullptr && on_removed_) std::exchange(on_removed_, nullptr)(cancelled_at_, *entry.backend);
  scheduler_.admission_.leave(*this);
}

void Dispatch::done(const Completion& completion) {
  const auto self = shared_from_this();
  entry_->breaker.succeeded();
  Router::Entry& entry = *entry_;
  end(entry);  // lets others run, one of which may close this connection
  if (outcome_ != nullptr) outcome_->done(completion, *entry.backend);
}

void Dispatch::failed(const Error& error) {
  Router::Entry& entry = *entry_;
  const auto now = std::chrono::steady_clock::now();
  book_failure(entry, error.code, now);
  const auto self = shared_from_this();
  const Error copy = error;
  end(entry);
  if (outcome_ == nullptr) return;
  const size_t next = scheduler_.router_.position(&entry) + 1;
  if (is_worth_another(copy.code) && !piece_sent_ && scheduler_.router_.pick(need(), now, next) != nullptr) {
    generation_.reset();
    return try_entry(next, now);
  }
  outcome_->failed(copy);
}

void Dispatch::removed() {
  entry_->breaker.no_verdict();
  end(*entry_);
}

void Dispatch::cancel(OnRemoved on_removed) {
  if (outcome_ == nullptr) return;
  outcome_ = nullptr;
  if (stage_ == Stage::kEnded) return;
  on_removed_ = std::move(on_removed);
  cancelled_at_ = stage_;
  const auto self = shared_from_this();
  generation_->cancel();
}

}  // namespace inferd
