// Brings a model into the store: from what is there, else from the first of its URLs that has it (spec 07 §2). Called by the daemon's
// bring-up (on the pool) and by inferdctl; any thread (it blocks). Several processes and threads may want the same model at once: one
// downloads, the others wait and see its progress.
//
//   1  the manifest names the blob, which is there in its full size     done: nothing is hashed, no lock is taken
//   2  ProducerLock                                                     whoever waited looks at 1 again
//   3  the blob is there without its manifest (an import by hand)       hashed: right: manifest; wrong: quarantine, and on
//   4  for each URL: download into the partial file, hash on the way. If all have failed, and one of them because its file has another
//      size than the bytes that are there of another one: once more from zero
//   5  right: add_blob, manifest. Wrong: quarantine, and once more from zero: from the next URL, or from this one if only some of the
//      bytes came from it
//
// Phases are those of the admin socket (spec 04 §2) with their fields: checking_local, download, verify (with the additive
// verified_bytes and total_bytes), quarantine.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/transfer.h"
#include "request/status_event.h"
#include "store/download.h"
#include "store/fetch_error.h"
#include "store/model_store.h"

namespace inferd::store {

struct FetchRequest {
  ModelName name;
  BlobId id;
  std::vector<std::string> urls;  // source_url, then the mirrors
  std::optional<uint64_t> size_bytes;
  std::optional<std::string> license;
  bool distrust = false;  // the manifest's word for a blob is not enough: it is hashed (step 3)
};

struct FetchOptions {
  std::string produced_by;  // "inferd/<version>"
  DownloadOptions download;
  PartialFile::Pace pace;
  /// How often a download or a verification is told: whichever comes first.
  uint64_t phase_bytes = 32u << 20;
  std::chrono::milliseconds phase_time{5'000};
  std::chrono::milliseconds poll{200};  // of the lock that another process holds
};

struct FetchHooks {
  const std::atomic<bool>& cancelled;
  std::function<void(Phase)> on_phase;  // on the calling thread
  /// Called when the first byte has to come over the network.
  std::function<Result<std::unique_ptr<http::Transfers>>()> transfers;
};

struct Fetched {
  std::filesystem::path blob;
  uint64_t bytes = 0;
  enum class How { kWasThere, kVerified, kDownloaded } how = How::kWasThere;
};

Fetching<Fetched> fetch(ModelStore& store, const FetchRequest& request, const FetchOptions& options, const FetchHooks& hooks);

}  // namespace inferd::store
