// A few threads for work that must not run on the I/O thread: hashing, files, big frames. Bounded; joins at destruction.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
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
  /// Takes no more work and waits for what there is. False if a thread still works after `time`: destruction would wait for it.
  bool finish_within(std::chrono::milliseconds time);

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::mutex mutex_;
  std::condition_variable ended_one_;
  size_t ended_ = 0;  // threads; guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace inferd::os
