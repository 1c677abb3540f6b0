#include "store/import.h"

#include <chrono>

#include "os/file_lock.h"
#include "os/file_reader.h"
#include "os/input_file.h"
#include "store/digest.h"
#include "store/producer_lock.h"

namespace inferd::store {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNameBytes = 8;

Manifest manifest_of(const fs::path& file, const BlobId& id, uint64_t bytes, const std::string& produced_by) {
  Manifest manifest;
  manifest.set_blob(id);
  manifest.size_bytes = bytes;
  manifest.source.filename = file.filename().string();
  manifest.produced_by = produced_by;
  manifest.produced_at = utc_text(std::chrono::system_clock::now());
  return manifest;
}

// True if the store has the blob and its bytes are right.
Result<bool> has_good_blob(const ModelStore& store, const BlobId& id, ProducerLock& lock, const ImportHooks& hooks) {
  const auto total = store.blob_bytes(id);
  if (!total) return false;
  auto held = store.hold(id);
  if (!held) return std::unexpected(held.error());
  auto digest = sha256_of(held->fd.get(), hooks.cancelled, [&](uint64_t bytes) {
    lock.show({.phase = "verify", .bytes = bytes, .total = *total, .source_url = {}});
    hooks.progress("verify", bytes, *total);
  });
  if (!digest) return std::unexpected(digest.error());
  return *digest == id.hex();
}

// The folder of one import; what is left of it goes with the object.
class Staging {
 public:
  Staging(os::FileSystem& files, fs::path folder) : files_(files), folder_(std::move(folder)) {}
  ~Staging() {
    // Best effort: gc finds what stays.
    (void)files_.remove(file());
    (void)files_.remove(folder_ / kImportLock);
    (void)files_.remove_empty_folder(folder_);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  Status begin() {
    if (auto made = files_.make_folder(folder_); !made) return made;
    auto lock = os::FileLock::try_exclusive(folder_ / kImportLock);
    if (!lock) return std::unexpected(lock.error());
    if (!*lock) return fail(Code::kInUse, (folder_ / kImportLock).string() + " is held by another process");
    lock_ = std::move(*lock);
    return {};
  }
  fs::path file() const { return folder_ / "data.tmp"; }

 private:
  os::FileSystem& files_;
  const fs::path folder_;
  std::optional<os::FileLock> lock_;
};

}  // namespace

Result<Imported> import_file(ModelStore& store, const fs::path& file, const ModelName& name, const std::optional<BlobId>& expected,
                             const std::string& produced_by, const ImportHooks& hooks) {
  auto source = os::open_regular_file(file);
  if (!source) return std::unexpected(source.error());
  const auto state = os::identity_of(source->get());
  const auto random = random_text(kNameBytes);
  if (!state) return std::unexpected(state.error());
  if (!random) return std::unexpected(random.error());

  Staging staging(store.files(), store.paths().blobs() / (".import-" + *random));
  if (auto begun = staging.begin(); !begun) return std::unexpected(begun.error());
  auto kind = store.files().copy(source->get(), staging.file(), [&](uint64_t bytes) {
    hooks.progress("copy", bytes, state->size);
    return !hooks.cancelled.load(std::memory_order_relaxed);
  });
  if (!kind) return std::unexpected(kind.error());
  auto copy = os::open_regular_file(staging.file());
  if (!copy) return std::unexpected(copy.error());
  auto digest = sha256_of(copy->get(), hooks.cancelled, [&](uint64_t bytes) { hooks.progress("verify", bytes, state->size); });
  const auto copied = os::identity_of(copy->get()), after = os::identity_of(source->get());
  if (!digest) return std::unexpected(digest.error());
  if (!copied) return std::unexpected(copied.error());
  if (!after) return std::unexpected(after.error());
  // A reflink is the file of one moment, whatever is written to it since.
  if (*kind != os::CopyKind::kReflink && !os::has_same_bytes(*state, *after)) {
    return fail(Code::kIntegrity, file.string() + " was changed while it was read: nothing was imported");
  }
  const BlobId id = BlobId::parse(*digest).value();
  if (expected && id != *expected) {
    return fail(Code::kIntegrity, file.string() + " has the SHA-256 " + id.hex() + ", expected " + expected->hex());
  }

  // Before the lock is taken, since others wait for it, and this may take long.
  if (auto synced = store.files().sync_file(staging.file()); !synced) return std::unexpected(synced.error());
  auto lock = ProducerLock::acquire(store.paths(), name, id, {.cancelled = hooks.cancelled, .on_progress = [](const ProducerProgress&) {}});
  if (!lock) return std::unexpected(lock.error());
  auto there = has_good_blob(store, id, *lock, hooks);
  if (!there) return std::unexpected(there.error());
  if (!*there) {
    if (store.blob_bytes(id)) {
      if (auto moved = store.quarantine(store.paths().blob(id), "sha-mismatch"); !moved) return std::unexpected(moved.error());
    }
    if (auto added = store.add_blob(id, staging.file()); !added) return std::unexpected(added.error());
  }
  auto named = store.set_manifest(name, manifest_of(file, id, copied->size, produced_by));
  if (!named) return std::unexpected(named.error());
  return Imported{id, store.paths().blob(id), copied->size, *there ? std::nullopt : std::optional(*kind)};
}

}  // namespace inferd::store
