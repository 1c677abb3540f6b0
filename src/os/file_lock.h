// Advisory locks on files (flock), between processes and within one, and a short note that the holder of an exclusive lock shows to those
// who wait for it. The kernel releases a lock when its holder ends, however it ends. Lock files are never deleted: a lock on a deleted
// file excludes nobody. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

class FileLock {
 public:
  /// Makes the lock file (0600) if it is missing. Nothing if somebody else holds it. A symbolic link is refused.
  static Result<std::optional<FileLock>> try_exclusive(const std::filesystem::path& path);

  /// Replaces the note (at most kMaxNoteBytes). It is of use while it is held only, so nothing is synced and an error is left alone.
  void show(std::string_view note);
  /// The note of whoever holds the lock; empty if there is none. It may be a dead holder's: it tells progress, never state.
  static std::string note(const std::filesystem::path& path);

  static constexpr size_t kMaxNoteBytes = 4096;

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// Locks an open file until every copy of the descriptor is closed; copies in other processes count. False if somebody else's lock stands
/// against it. Asking for the other kind changes a lock that is held.
Result<bool> try_lock_shared(int fd);
Result<bool> try_lock_exclusive(int fd);

}  // namespace inferd::os
