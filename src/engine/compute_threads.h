// The threads that compute: made once, kept between steps and batches, shared by the contexts of one model, which compute in turns; and the turns
// between engines that share the CPUs. Made on the main thread; outlives every context that it is attached to. turn() is the step thread's.
#pragma once

#include <ggml-cpu.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "os/turnstile.h"

namespace inferd::engine {

class ComputeThreads {
 public:
  /// `turnstile` null: no other engine computes on these CPUs.
  ComputeThreads(uint32_t threads, std::unique_ptr<os::Turnstile> turnstile);
  ~ComputeThreads();
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;

  /// For llama_attach_threadpool. Null: none could be made, and llama.cpp starts threads each time.
  ggml_threadpool_t get() const { return pool_; }

  /// Held while a batch is computed.
  class Turn {
   public:
    explicit Turn(os::Turnstile* turnstile) : turnstile_(turnstile) {
      if (turnstile_ != nullptr) turnstile_->enter();
    }
    ~Turn() {
      if (turnstile_ != nullptr) turnstile_->leave();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    os::Turnstile* turnstile_;
  };
  Turn turn() { return Turn(turnstile_.get()); }
  void take(std::optional<Turn>& turn) { turn.emplace(turnstile_.get()); }

 private:
  const std::unique_ptr<os::Turnstile> turnstile_;
  ggml_threadpool_t pool_ = nullptr;
  decltype(&ggml_threadpool_free) free_ = nullptr;
};

}  // namespace inferd::engine
