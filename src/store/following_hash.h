// The SHA-256 of a file that is still being written: a thread of its own hashes behind the writer, so that the digest is there soon after
// the last byte. Made and asked by one thread (the download's); owns its thread, not the descriptor.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/error.h"
#include "store/digest.h"

namespace inferd::store {

class FollowingHash {
 public:
  /// `fd` stays open as long as the object lives.
  static Result<std::unique_ptr<FollowingHash>> start(int fd);
  ~FollowingHash();
  FollowingHash(const FollowingHash&) = delete;
  FollowingHash& operator=(const FollowingHash&) = delete;

  /// The bytes before `end` are written and will not change. Never less than before.
  void available(uint64_t end);

  /// Waits until all `total` bytes, which are available, are hashed, and ends. `progress(bytes hashed)` is called several times a second.
  Result<std::string> finish(uint64_t total, const std::atomic<bool>& cancelled, const std::function<void(uint64_t)>& progress);

 private:
  FollowingHash(int fd, Sha256 hash);
  void follow();
  void stop();

  const int fd_;
  Sha256 hash_;  // the thread's, until it has ended
  std::mutex mutex_;
  // guarded by mutex_:
  uint64_t available_ = 0, hashed_ = 0;
  bool stopping_ = false;
  std::optional<Error> error_;
  std::condition_variable more_, done_;
  std::thread thread_;
};

}  // namespace inferd::store
