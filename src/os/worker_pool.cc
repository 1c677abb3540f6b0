#include "os/worker_pool.h"

#include "os/system.h"

namespace inferd::os {

WorkerPool::WorkerPool(size_t threads, size_t capacity) : queue_(capacity) {
  const TerminationSignalsBlocked blocked;
  for (size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] {
      while (auto work = queue_.pop()) (*work)();
    });
  }
}

WorkerPool::~WorkerPool() {
  queue_.close();
  for (auto& thread : threads_) thread.join();
}

}  // namespace inferd::os
