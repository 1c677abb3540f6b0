// Where things are in the model store (spec 07 §1; other tools share it), and the two kinds of names in its paths: both are checked when
// they are made, so that no path leaves the store. Pure but for the environment; any thread.
//
//   <root>/blobs/sha256/<aa>/<sha>/data                  a finished blob; <aa> = the first two digits of <sha>
//   <root>/blobs/sha256/<aa>/.partial-<sha>/data.tmp     a download that has not ended
//                                          /data.tmp.ranges, .recent   which of its bytes are there (partial_file.h; ours)
//   <root>/blobs/sha256/.import-<random>                 a file that is being imported (ours)
//   <root>/manifests/<name>.json                         (.json.tmp while it is written)
//   <root>/locks/<name>.lock                             held by who produces the model <name>
//   <root>/locks/blobs/<sha>.lock                        held by who produces or removes the blob, under whatever name (ours)
//   <root>/locks/verified/<sha>.<uid>, <uid>.key         recorded verifications (verify.h; ours)
//   <root>/locks/quarantine/<time>-<reason>.bin          files that are not what they should be
#pragma once

#include <compare>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"

namespace inferd::store {

/// A SHA-256 as 64 lower-case hex digits: the name of a blob.
class BlobId {
 public:
  /// kUsage unless it is 64 hex digits, of either case.
  static Result<BlobId> parse(std::string_view text);
  const std::string& hex() const { return hex_; }
  friend bool operator==(const BlobId&, const BlobId&) = default;
  friend auto operator<=>(const BlobId&, const BlobId&) = default;

 private:
  explicit BlobId(std::string hex) : hex_(std::move(hex)) {}
  std::string hex_;
};

/// A model's name and the file name that stands for it: the same text, but for characters that would make another path of it or that a
/// terminal would act upon ('/', '\', control characters up to U+009F, a dot in front): each byte of these is written %XX. No two names
/// share a file name.
class ModelName {
 public:
  /// kUsage if it is empty, no UTF-8, or longer than a file name may be.
  static Result<ModelName> parse(std::string_view text);
  /// The name whose file name is `file_name`.
  static Result<ModelName> from_file_name(std::string_view file_name);
  const std::string& text() const { return text_; }
  const std::string& file_name() const { return file_name_; }

 private:
  ModelName(std::string text, std::string file_name) : text_(std::move(text)), file_name_(std::move(file_name)) {}
  std::string text_, file_name_;
};

class StorePaths {
 public:
  explicit StorePaths(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path blobs() const { return root_ / "blobs" / "sha256"; }
  std::filesystem::path manifests() const { return root_ / "manifests"; }
  std::filesystem::path locks() const { return root_ / "locks"; }
  std::filesystem::path blob_locks() const { return locks() / "blobs"; }
  std::filesystem::path quarantine() const { return locks() / "quarantine"; }
  std::filesystem::path verified() const { return locks() / "verified"; }

  std::filesystem::path blob_group(const BlobId& id) const { return blobs() / id.hex().substr(0, 2); }
  std::filesystem::path blob_folder(const BlobId& id) const { return blob_group(id) / id.hex(); }
  std::filesystem::path blob(const BlobId& id) const { return blob_folder(id) / "data"; }
  std::filesystem::path partial_folder(const BlobId& id) const { return blob_group(id) / (".partial-" + id.hex()); }
  std::filesystem::path partial(const BlobId& id) const { return partial_folder(id) / "data.tmp"; }
  std::filesystem::path manifest(const ModelName& name) const { return manifests() / (name.file_name() + ".json"); }
  std::filesystem::path name_lock(const ModelName& name) const { return locks() / (name.file_name() + ".lock"); }
  std::filesystem::path blob_lock(const BlobId& id) const { return blob_locks() / (id.hex() + ".lock"); }

 private:
  std::filesystem::path root_;
};

/// The root that `configured` means: a leading "~/" or "~\" is the home folder. Empty: $MODELS_HOME, else $XDG_DATA_HOME/models, else
/// $HOME/.local/share/models (spec 05 §4).
std::filesystem::path store_root(std::string_view configured);

}  // namespace inferd::store
