// Takes a file that is there already into the store as a model. Called by inferdctl; any thread (it blocks); owns nothing.
//
//   blobs/sha256/.import-<random>/lock       held while the import runs, so that gc leaves it alone
//                                /data.tmp   the file: blocks shared on write, else a second name of it, else a copy
// What is hashed is what is stored; then add_blob and set_manifest, as model_store.h says.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/durable_file.h"
#include "store/model_store.h"

namespace inferd::store {

struct ImportHooks {
  const std::atomic<bool>& cancelled;
  /// `phase` is "copy" or "verify".
  std::function<void(std::string_view phase, uint64_t bytes, uint64_t total)> progress;
};

struct Imported {
  BlobId id;
  std::filesystem::path blob;
  uint64_t bytes = 0;
  std::optional<os::CopyKind> kind;  // nothing: the store had the blob already
};

/// kIntegrity if `expected` is given and is not the file's digest, or the file was changed while it was read. A hard-linked file stays
/// writable under its old name: whoever changes it there damages the model, which the next verification notices.
Result<Imported> import_file(ModelStore& store, const std::filesystem::path& file, const ModelName& name,
                             const std::optional<BlobId>& expected, const std::string& produced_by, const ImportHooks& hooks);

}  // namespace inferd::store
