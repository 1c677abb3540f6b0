// The single-instance lock: an exclusive advisory lock on a file that is never written and never deleted (spec 06 §6).
// Held as long as the object lives; the kernel releases it when the process ends, however it ends.
#pragma once

#include <filesystem>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

class InstanceLock {
 public:
  /// Errors: symlink or not a regular file; held by another process (kInUse).
  static Result<InstanceLock> acquire(const std::filesystem::path& path);

 private:
  explicit InstanceLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace inferd::os
