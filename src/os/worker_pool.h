// A few threads for work that must not run on the I/O thread: hashing, files, big frames. Bounded; joins at destruction.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace inferd::os {

class WorkerPool {
 public:
  WorkerPool(size_t threads, size_t capacity);
  ~WorkerPool();

  /// False if the queue is full: the caller then does the work itself or refuses it.
  bool try_run(std::function<void()> work) { return queue_.try_push(std::move(work)); }

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace inferd::os
