// Who produces a model: one process at a time for a name and for a blob. The others wait and see the producer's progress.
// Held by fetch, import and remove; any thread (it blocks). Owns two lock files for as long as it lives:
//
//   1. locks/<name>.lock         as other tools take it; guards the manifest
//   2. locks/blobs/<sha>.lock    two names may stand for one blob; guards the blob and its partial file
//
// Both carry a note of who holds them and how far he is. It changes as long as the holder lives (he shows something at least every few
// seconds); a waiter whose notes do not change says so in the log, and ends in time if the holder is one of us (a process that is stopped
// keeps its locks). Another tool may well download for an hour and say nothing.
//
// Always in this order, so that nobody waits in a circle. Whoever holds the second alone (gc) waits for nothing.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/file_lock.h"
#include "store/store_paths.h"

namespace inferd::store {

/// What the producer does.
struct ProducerProgress {
  std::string phase;  // begin, download or verify
  uint64_t bytes = 0;
  std::optional<uint64_t> total;
  std::string source_url;
  friend bool operator==(const ProducerProgress&, const ProducerProgress&) = default;
};
/// In a lock file, as one line: "inferd-progress 2 <process> <beat> <phase> <bytes> <total or -> <source url or ->".
struct ProducerNote {
  uint64_t process = 0;  // that holds the lock
  uint64_t beat = 0;     // another number each time
  ProducerProgress progress;
  friend bool operator==(const ProducerNote&, const ProducerNote&) = default;
};
std::string note_text(const ProducerNote& note);
std::optional<ProducerNote> read_note(std::string_view text);

class ProducerLock {
 public:
  struct Wait {
    const std::atomic<bool>& cancelled;
    std::function<void(const ProducerProgress&)> on_progress;  // of the process that is waited for, when it has changed
    std::chrono::milliseconds poll{200};
    /// Without a change of the holder's notes: until it is logged, once, and until the waiting ends with kInUse.
    std::chrono::milliseconds warn_after{120'000}, give_up_after{600'000};
  };
  /// Waits until both locks are free; kBackendUnavailable once cancelled, kInUse if the holder seems to be stopped (the message names him).
  static Result<ProducerLock> acquire(const StorePaths& paths, const ModelName& name, const BlobId& id, const Wait& wait);

  /// Takes the notes away: what another tool holds afterwards is not ours.
  ~ProducerLock();
  ProducerLock(ProducerLock&&) = default;
  ProducerLock& operator=(ProducerLock&&) = delete;

  void show(const ProducerProgress& progress);

 private:
  ProducerLock(os::FileLock name, os::FileLock blob) : name_(std::move(name)), blob_(std::move(blob)) {}
  os::FileLock name_, blob_;
  uint64_t beat_ = 0;
};

}  // namespace inferd::store
