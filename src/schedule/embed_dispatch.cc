#include "schedule/embed_dispatch.h"

#include <utility>

namespace inferd {

void EmbedDispatch::try_entry(size_t from, Breaker::Time now) {
  started_ = {};
  ended_ = false;
  entry_ = scheduler_.router_.pick(Need::kEmbed, now, from);
  if (entry_ == nullptr) {
    ended_ = true;
    return outcome_->failed(scheduler_.router_.why_none(Need::kEmbed));
  }
  if (auto entered = scheduler_.admission_.enter(Scheduler::embed_place(*entry_), {Priority::kInteractive, request_->flow, false}, *this); !entered) {
    ended_ = true;
    return outcome_->failed(entered.error());
  }
  entry_->breaker.sent(now);
  const auto self = shared_from_this();  // embed() may end us
  Router::Entry* const entry = entry_;
  auto work = entry->backend->embed(request_, self);
  if (ended_ || entry_ != entry) return;  // failed inside embed(), perhaps on to the next entry
  work_ = std::move(work);
  start_if_possible();
}

void EmbedDispatch::start_if_possible() {
  if (!running() || !work_ || ended_ || outcome_ == nullptr || started_ != Breaker::Time()) return;
  started_ = std::chrono::steady_clock::now();
  const auto self = shared_from_this();
  work_->start(false);
}

void EmbedDispatch::end() {
  ended_ = true;
  scheduler_.admission_.leave(*this);
}

void EmbedDispatch::done(Embeddings embeddings) {
  const auto self = shared_from_this();
  entry_->breaker.succeeded();
  scheduler_.admission_.charge(*this, embeddings.input_tokens);
  end();
  if (outcome_ != nullptr) outcome_->done(std::move(embeddings), *entry_->backend);
}

void EmbedDispatch::failed(const Error& error) {
  const auto self = shared_from_this();
  const Error copy = error;
  const auto now = std::chrono::steady_clock::now();
  book_failure(*entry_, copy.code, now);
  end();
  if (outcome_ == nullptr) return;
  const size_t next = scheduler_.router_.position(entry_) + 1;
  if (is_worth_another(copy.code) && scheduler_.router_.pick(Need::kEmbed, now, next) != nullptr) {
    work_.reset();
    return try_entry(next, now);
  }
  outcome_->failed(copy);
}

void EmbedDispatch::removed() {
  const auto self = shared_from_this();
  entry_->breaker.no_verdict();
  end();
}

void EmbedDispatch::cancel() {
  if (outcome_ == nullptr) return;
  outcome_ = nullptr;
  if (ended_) return;
  const auto self = shared_from_this();
  work_->cancel();
}

}  // namespace inferd
