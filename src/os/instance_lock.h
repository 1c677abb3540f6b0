// The single-instance lock: an exclusive advisory lock on a file that is never written and never deleted (spec 06 §6).
// Held as long as the object lives; the kernel releases it when the process ends, however it ends.
#pragma once

#include <filesystem>
#include <utility>

#include "base/error.h"
#include "os/file_lock.h"

namespace inferd::os {

class InstanceLock {
 public:
  /// Errors: symlink or not a regular file; held by another process (kInUse).
  static Result<InstanceLock> acquire(const std::filesystem::path& path);

 private:
  explicit InstanceLock(FileLock lock) : lock_(std::move(lock)) {}
  FileLock lock_;
};

}  // namespace inferd::os
