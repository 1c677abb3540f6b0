// The store of models on disk: which blob stands behind a name, and every change of that. Any process may open it, any thread may use it
// (calls block on the disk); it owns nothing but paths. Producing and removing happen under the locks of producer_lock.h.
//
// Order of operations. After a power cut between any two of them (s = fsync, S = fsync of the folder) the store opens and holds the old
// model or the new one. add_blob, set_manifest and remove never leave a manifest that names a missing or short blob; quarantine of a
// damaged blob does, until the blob is fetched or imported again (list says "blob missing", and a start fetches it):
//
//   add_blob     s data.tmp                          whole, hashed by the caller
//                S blobs/sha256, S <aa>              the folder <sha> is there
//                rename data.tmp -> <sha>/data
//                S <sha>                             ── from here on the blob is there
//                S .partial-<sha>, remove it, S <aa>
//   set_manifest s <name>.json.tmp, rename over <name>.json, S manifests      ── from here on the name means the blob
//   remove       unlink <name>.json, S manifests     ── from here on the name means nothing
//                remove_blob
//   remove_blob  unlink <sha>/data, S <sha>, rmdir <sha>, S <aa>              only if no manifest names it and nobody holds it
//   quarantine   rename to a name that was free, S locks/quarantine, S the folder it came from
//                unlink older ones                   all but two of a reason: who fetches a wrong file again and again fills no disk
//
// The folder that gets a name is synced before the one that loses it: a cut in between leaves the file under both names, never under none.
// A blob without a manifest is harmless (gc lists it). A daemon holds its blob by a shared lock on the blob file itself (hold): the
// descriptor is the one it loads from, so the blob lives as long as anybody has it mapped.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/durable_file.h"
#include "os/unique_fd.h"
#include "store/manifest.h"
#include "store/store_paths.h"

namespace inferd::store {

/// A blob that nobody removes as long as the descriptor, or any copy of it in any process, is open.
struct HeldBlob {
  os::UniqueFd fd;
  std::filesystem::path path;
};

/// A manifest in the store, or why it cannot be read.
struct ListedModel {
  std::string name;
  std::filesystem::path manifest_path;
  Result<Manifest> manifest;
  std::filesystem::path blob_path;      // empty if the manifest cannot be read or names no blob of ours
  std::optional<uint64_t> blob_bytes;  // nothing if the blob is missing
};

struct Removed {
  bool blob_removed = false;
  std::string kept_because;  // if the blob was not removed
};

/// In the folder of an import, held by the process that imports.
constexpr std::string_view kImportLock = "lock";

/// Something that gc may delete.
struct Garbage {
  enum class Kind { kBlob, kPartial, kImport, kManifestRest, kQuarantined, kVerification };
  Kind kind;
  std::filesystem::path path;  // the blob, or the folder or file that goes as a whole
  uint64_t bytes = 0;          // at most: a partial download has holes
  std::string id;              // of a blob or its partial download: 64 hex digits
};
std::string_view kind_name(Garbage::Kind kind);

struct Collected {
  uint64_t bytes = 0;
  std::vector<std::pair<Garbage, std::string>> kept;  // and why
};

class ModelStore {
 public:
  /// Makes the folders of the store.
  static Result<ModelStore> open(std::filesystem::path root, os::FileSystem& files = os::file_system());
  /// For those who only look: nothing is made. kNotFound if there is no such folder.
  static Result<ModelStore> open_to_read(std::filesystem::path root);

  const StorePaths& paths() const { return paths_; }
  os::FileSystem& files() const { return *files_; }

  /// kNotFound if there is none, kIntegrity if it cannot be read.
  Result<Manifest> manifest(const ModelName& name) const;
  /// Every manifest, sorted by name.
  Result<std::vector<ListedModel>> list() const;
  /// Bytes of a blob; nothing if it is missing.
  std::optional<uint64_t> blob_bytes(const BlobId& id) const;
  /// Opens a blob and holds it. kNotFound; kInUse if it is being removed.
  Result<HeldBlob> hold(const BlobId& id) const;

  // The caller holds the ProducerLock of name and blob for these:

  /// Moves a whole and hashed file from its folder, which then goes, under the blob's final name.
  Status add_blob(const BlobId& id, const std::filesystem::path& whole_file);
  /// Replaces the manifest; other tools' fields of the one that was there are kept, and of one for the same blob what the new one does not
  /// say of license and source.
  Status set_manifest(const ModelName& name, Manifest manifest);
  /// Moves a bad file away and says where to. Of the same reason, only the newest one that was there stays beside it.
  Result<std::filesystem::path> quarantine(const std::filesystem::path& file, std::string_view reason,
                                           std::chrono::system_clock::time_point now = std::chrono::system_clock::now());

  // These take the locks themselves:

  /// The manifest goes, and its blob unless another manifest or `keep` names it or somebody holds it. kNotFound; kInUse while the model is
  /// produced.
  Result<Removed> remove(const ModelName& name, const std::set<BlobId>& keep = {});
  /// What no manifest and none of `keep` needs and nobody holds. kIntegrity if a manifest cannot be read: what it needs is not known.
  Result<std::vector<Garbage>> find_garbage(const std::set<BlobId>& keep) const;
  /// Deletes what was found, after asking again whether it is still garbage.
  Collected collect(const std::vector<Garbage>& garbage, const std::set<BlobId>& keep);

 private:
  ModelStore(std::filesystem::path root, os::FileSystem& files) : paths_(std::move(root)), files_(&files) {}
  static Result<Manifest> read_manifest(const std::filesystem::path& path);
  Result<std::set<BlobId>> needed_blobs(const std::set<BlobId>& keep) const;
  void limit_quarantine(const std::filesystem::path& newest, std::string_view suffix);
  Result<std::vector<Garbage>> find_verification_garbage() const;
  void find_blob_garbage(const std::filesystem::path& group, const std::set<BlobId>& needed, std::vector<Garbage>& garbage) const;
  Result<std::string> remove_blob(const BlobId& id, const std::set<BlobId>& keep);
  Status remove_tree(const std::filesystem::path& folder);
  Result<std::string> collect_one(const Garbage& garbage, const std::set<BlobId>& keep);

  StorePaths paths_;
  os::FileSystem* files_;
};

}  // namespace inferd::store
