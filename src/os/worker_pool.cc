#include "os/worker_pool.h"

#include "os/system.h"

namespace inferd::os {

WorkerPool::WorkerPool(size_t threads, size_t capacity) : queue_(capacity) {
  const TerminationSignalsBlocked blocked;
  for (size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] {
      while (auto work = queue_.pop()) (*work)();
      const std::lock_guard lock(mutex_);
      ++ended_;
      ended_one_.notify_all();
    });
  }
}

WorkerPool::~WorkerPool() {
  queue_.close();
  for (auto& thread : threads_) thread.join();
}

bool WorkerPool::finish_within(std::chrono::milliseconds time) {
  queue_.close();
  std::unique_lock lock(mutex_);
  return ended_one_.wait_for(lock, time, [this] { return ended_ == threads_.size(); });
}

}  // namespace inferd::os
