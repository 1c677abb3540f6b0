#include "store/model_store.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <iterator>
#include <system_error>
#include <thread>

#include "base/log.h"
#include "base/utf8.h"
#include "os/file_lock.h"
#include "os/file_reader.h"
#include "os/input_file.h"
#include "store/verify.h"

namespace inferd::store {
namespace {

namespace fs = std::filesystem;
constexpr int kHoldAttempts = 50;
constexpr auto kHoldPause = std::chrono::milliseconds(20);
constexpr int kMostQuarantinedInASecond = 1000;
constexpr size_t kMostQuarantinedOfAReason = 2;
constexpr const char* kQuarantineTime = "%Y%m%dT%H%M%SZ";
constexpr int64_t kOldNs = int64_t{3600} * 1'000'000'000;  // nobody is still writing such a file

// What stands in a folder, sorted; nothing if it is missing.
Result<std::vector<fs::path>> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) entries.push_back(at->path());
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory) {
    return fail(Code::kIo, "folder " + folder.string() + ": " + error.message());
  }
  std::ranges::sort(entries);
  return entries;
}

Status make_root(os::FileSystem& files, const fs::path& root) {
  std::error_code error;
  if (root.empty() || fs::is_directory(root, error)) return {};
  if (auto parent = make_root(files, root.parent_path()); !parent) return parent;
  if (auto made = files.make_folder(root); !made) return made;
  return files.sync_folder(root.has_parent_path() ? root.parent_path() : fs::path("."));
}

// The model whose manifest is "<file name>.json".
std::optional<ModelName> model_of(const fs::path& manifest) {
  if (manifest.extension() != ".json") return std::nullopt;
  auto name = ModelName::from_file_name(manifest.stem().string());
  if (!name) return std::nullopt;
  return *name;
}

uint64_t bytes_in(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    const uintmax_t bytes = fs::file_size(path, error);
    return error ? 0 : bytes;
  }
  uint64_t bytes = 0;
  const auto entries = entries_of(path);
  if (entries) {
    for (const auto& entry : *entries) bytes += bytes_in(entry);
  }
  return bytes;
}

// True if somebody holds the file (HeldBlob). A file that is gone is held by nobody.
Result<bool> is_held(const fs::path& path) {
  auto fd = os::open_regular_file(path);
  if (!fd && fd.error().code == Code::kNotFound) return false;
  if (!fd) return std::unexpected(fd.error());
  auto alone = os::try_lock_exclusive(fd->get());
  if (!alone) return std::unexpected(alone.error());
  return !*alone;
}

// True if somebody produces what the lock file stands for. One that was never made is held by nobody, and looking does not make it.
Result<bool> is_locked(const fs::path& lock_file) {
  auto held = is_held(lock_file);
  if (!held) return fail(held.error().code, "lock file " + held.error().message);
  return held;
}

// What is known of where a blob came from stays known when it is named again by who does not know.
void keep_what_was_known(const Manifest& before, Manifest& next) {
  if (!next.license || next.license->empty()) next.license = before.license;
  using Source = Manifest::Source;
  for (const auto field : {&Source::registry, &Source::repo, &Source::revision, &Source::filename}) {
    if ((next.source.*field).empty()) next.source.*field = before.source.*field;
  }
}

// The name of a quarantined file is "<time><suffix>.bin", or "<time><suffix>-<n>.bin" from the second one of that second on.
std::string quarantine_suffix(std::string_view reason) {
  std::string suffix = "-";
  for (const unsigned char c : reason) suffix += std::isalnum(c) != 0 ? static_cast<char>(c) : '-';
  return suffix;
}

using QuarantineAge = std::pair<std::string, uint64_t>;  // time and n: the older, the less

// Nothing if the file is of another suffix.
std::optional<QuarantineAge> quarantine_age(const fs::path& path, std::string_view suffix) {
  const std::string stem = path.stem().string();
  const size_t end = std::min(stem.find('-'), stem.size());
  std::string_view rest = std::string_view(stem).substr(end);
  if (path.extension() != ".bin" || !rest.starts_with(suffix)) return std::nullopt;
  rest.remove_prefix(suffix.size());
  uint64_t n = 1;
  if (!rest.empty()) {
    const auto read = std::from_chars(rest.data() + 1, rest.data() + rest.size(), n);
    if (rest[0] != '-' || read.ec != std::errc() || read.ptr != rest.data() + rest.size()) return std::nullopt;
  }
  return QuarantineAge(stem.substr(0, end), n);
}

}  // namespace

std::string_view kind_name(Garbage::Kind kind) {
  switch (kind) {
    case Garbage::Kind::kBlob: return "blob";
    case Garbage::Kind::kPartial: return "partial download";
    case Garbage::Kind::kImport: return "unfinished import";
    case Garbage::Kind::kManifestRest: return "unfinished manifest";
    case Garbage::Kind::kQuarantined: return "quarantined file";
    case Garbage::Kind::kVerification: return "verification record";
  }
  return "file";
}

Result<ModelStore> ModelStore::open(fs::path root, os::FileSystem& files) {
  ModelStore store(std::move(root), files);
  if (auto made = make_root(files, store.paths_.root()); !made) return std::unexpected(made.error());
  for (const char* folder : {"blobs/sha256", "manifests", "locks/blobs"}) {
    if (auto made = os::make_durable_folders(files, store.paths_.root(), folder); !made) return std::unexpected(made.error());
  }
  return store;
}

Result<ModelStore> ModelStore::open_to_read(fs::path root) {
  std::error_code error;
  if (!fs::is_directory(root, error)) return fail(Code::kNotFound, "there is no model store at " + root.string());
  return ModelStore(std::move(root), os::file_system());
}

Result<Manifest> ModelStore::manifest(const ModelName& name) const {
  return read_manifest(paths_.manifest(name));
}

Result<Manifest> ModelStore::read_manifest(const fs::path& path) {
  auto text = os::read_file(path, kMaxManifestBytes);
  if (!text) return fail(text.error().code, "manifest " + text.error().message);
  return parse_manifest(*text, "manifest " + path.string());
}

Result<std::vector<ListedModel>> ModelStore::list() const {
  auto entries = entries_of(paths_.manifests());
  if (!entries) return std::unexpected(entries.error());
  std::vector<ListedModel> models;
  for (const fs::path& path : *entries) {
    if (path.extension() != ".json") continue;
    // Also one whose file name is none of ours: another tool wrote it, and needs its blob.
    const auto name = model_of(path);
    ListedModel model{.name = name ? name->text() : to_valid_utf8(path.stem().string()),
                      .manifest_path = path,
                      .manifest = read_manifest(path),
                      .blob_path = {},
                      .blob_bytes = {}};
    if (!model.manifest && model.manifest.error().code == Code::kNotFound) continue;  // removed meanwhile
    if (const auto id = model.manifest ? model.manifest->blob_id() : std::nullopt) {
      model.blob_path = paths_.blob(*id);
      model.blob_bytes = blob_bytes(*id);
    }
    models.push_back(std::move(model));
  }
  std::ranges::sort(models, {}, &ListedModel::name);
  return models;
}

std::optional<uint64_t> ModelStore::blob_bytes(const BlobId& id) const {
  const auto state = os::identity_of(paths_.blob(id));
  if (!state) return std::nullopt;
  return state->size;
}

Result<HeldBlob> ModelStore::hold(const BlobId& id) const {
  const fs::path path = paths_.blob(id);
  for (int attempt = 0; attempt < kHoldAttempts; ++attempt) {
    auto fd = os::open_regular_file(path);
    if (!fd) return fail(fd.error().code, "blob " + fd.error().message);
    auto held = os::try_lock_shared(fd->get());
    if (!held) return fail(held.error().code, "blob " + path.string() + ": " + held.error().message);
    // Between opening and locking it may have been removed, or replaced: then the lock is on a file that has lost its name.
    const auto opened = os::identity_of(fd->get());
    const auto named = os::identity_of(path);
    if (*held && opened && named && opened->device == named->device && opened->inode == named->inode) {
      return HeldBlob{std::move(*fd), path};
    }
    std::this_thread::sleep_for(kHoldPause);
  }
  return fail(Code::kInUse, "blob " + path.string() + " is being removed by another process");
}

Status ModelStore::add_blob(const BlobId& id, const fs::path& whole_file) {
  if (auto synced = files_->sync_file(whole_file); !synced) return synced;
  const fs::path folder = paths_.blob_folder(id), from = whole_file.parent_path();
  if (auto made = os::make_durable_folders(*files_, paths_.root(), folder.lexically_relative(paths_.root())); !made) return made;
  if (auto renamed = files_->rename(whole_file, paths_.blob(id)); !renamed) return renamed;
  if (auto synced = files_->sync_folder(folder); !synced) return synced;
  if (auto synced = files_->sync_folder(from); !synced) return synced;
  return remove_tree(from);
}

Status ModelStore::set_manifest(const ModelName& name, Manifest next) {
  auto before = manifest(name);
  if (!before && before.error().code != Code::kNotFound) return std::unexpected(before.error());
  if (before) {
    next.schema_version = before->schema_version;
    next.extra = std::move(before->extra);
    next.source.extra = std::move(before->source.extra);
    if (before->blob == next.blob) keep_what_was_known(*before, next);
  }
  next.name = name.text();
  const fs::path path = paths_.manifest(name);
  const std::string text = manifest_text(next);
  // One that cannot be read would stop gc, and every later write of this name.
  if (text.size() > kMaxManifestBytes) return fail(Code::kUsage, "manifest " + path.string() + " would be too long: it is not written");
  if (auto read = parse_manifest(text, "manifest " + path.string() + ", which is not written"); !read) return std::unexpected(read.error());
  return os::replace_file(*files_, path, text);
}

Result<fs::path> ModelStore::quarantine(const fs::path& file, std::string_view reason, std::chrono::system_clock::time_point now) {
  if (auto made = os::make_durable_folders(*files_, paths_.root(), "locks/quarantine"); !made) return std::unexpected(made.error());
  const std::string suffix = quarantine_suffix(reason), name = utc_text(now, kQuarantineTime) + suffix;
  for (int n = 1; n <= kMostQuarantinedInASecond; ++n) {
    const fs::path to = paths_.quarantine() / (name + (n == 1 ? "" : "-" + std::to_string(n)) + ".bin");
    auto moved = files_->rename_to_new(file, to);
    if (!moved && moved.error().code == Code::kInUse) continue;
    if (!moved) return std::unexpected(moved.error());
    if (auto synced = files_->sync_folder(paths_.quarantine()); !synced) return std::unexpected(synced.error());
    if (auto synced = files_->sync_folder(file.parent_path()); !synced) return std::unexpected(synced.error());
    if (const auto id = BlobId::parse(file.parent_path().filename().string())) VerificationRecords(paths_, *files_).forget(*id);
    limit_quarantine(to, suffix);
    return to;
  }
  return fail(Code::kInUse, "folder " + paths_.quarantine().string() + " is full of files of this second");
}

// Deletes the oldest ones of a reason. What cannot be deleted stays: the bad file is out of the way all the same.
void ModelStore::limit_quarantine(const fs::path& newest, std::string_view suffix) {
  const auto entries = entries_of(paths_.quarantine());
  if (!entries) return log::warn("store", "{}", entries.error().message);
  std::vector<std::pair<QuarantineAge, fs::path>> old;
  for (const fs::path& path : *entries) {
    if (const auto age = quarantine_age(path, suffix); age && path != newest) old.emplace_back(*age, path);
  }
  std::ranges::sort(old);
  for (size_t i = 0; i + (kMostQuarantinedOfAReason - 1) < old.size(); ++i) {
    if (auto gone = files_->remove(old[i].second); !gone) {
      log::warn("store", "{}", gone.error().message);
    } else {
      log::warn("store", "{} was deleted: {} of its kind are kept", old[i].second.string(), kMostQuarantinedOfAReason);
    }
  }
}

Result<Removed> ModelStore::remove(const ModelName& name, const std::set<BlobId>& keep) {
  auto lock = os::FileLock::try_exclusive(paths_.name_lock(name));
  if (!lock) return std::unexpected(lock.error());
  if (!*lock) return fail(Code::kInUse, "another process is producing the model " + name.text() + ": try again when it has ended");
  const fs::path path = paths_.manifest(name);
  const auto old = manifest(name);
  if (!old && old.error().code != Code::kIntegrity) return std::unexpected(old.error());
  if (auto gone = files_->remove(path); !gone) return std::unexpected(gone.error());
  if (auto synced = files_->sync_folder(paths_.manifests()); !synced) return std::unexpected(synced.error());
  if (!old) return Removed{false, "the manifest could not be read (" + old.error().message + ")"};
  const auto id = old->blob_id();
  if (!id) return Removed{false, "the manifest named no blob of this store: " + old->blob};
  auto kept = remove_blob(*id, keep);
  if (!kept) return std::unexpected(kept.error());
  return Removed{kept->empty(), *kept};
}

Result<std::set<BlobId>> ModelStore::needed_blobs(const std::set<BlobId>& keep) const {
  auto models = list();
  if (!models) return std::unexpected(models.error());
  std::set<BlobId> needed = keep;
  for (const auto& model : *models) {
    if (!model.manifest) {
      return fail(Code::kIntegrity, model.manifest.error().message + " (which blob it needs is not known: mend or remove it)");
    }
    if (const auto id = model.manifest->blob_id()) needed.insert(*id);
  }
  return needed;
}

Result<std::vector<Garbage>> ModelStore::find_garbage(const std::set<BlobId>& keep) const {
  auto needed = needed_blobs(keep);
  if (!needed) return std::unexpected(needed.error());
  auto groups = entries_of(paths_.blobs()), manifests = entries_of(paths_.manifests()), quarantined = entries_of(paths_.quarantine());
  for (const auto* folder : {&groups, &manifests, &quarantined}) {
    if (!*folder) return std::unexpected(folder->error());
  }
  std::vector<Garbage> garbage;
  for (const fs::path& group : *groups) {
    if (group.filename().string().starts_with(".import-")) {
      const auto held = is_locked(group / kImportLock);
      if (held && !*held) garbage.push_back({Garbage::Kind::kImport, group, bytes_in(group), {}});
    } else {
      find_blob_garbage(group, *needed, garbage);
    }
  }
  for (const fs::path& path : *manifests) {
    if (!path.string().ends_with(".json.tmp")) continue;
    const auto name = model_of(path.parent_path() / path.stem());
    if (const auto locked = name ? is_locked(paths_.name_lock(*name)) : Result<bool>(true); locked && !*locked) {
      garbage.push_back({Garbage::Kind::kManifestRest, path, bytes_in(path), {}});
    }
  }
  for (const fs::path& path : *quarantined) garbage.push_back({Garbage::Kind::kQuarantined, path, bytes_in(path), {}});
  auto records = find_verification_garbage();
  if (!records) return records;
  std::ranges::move(*records, std::back_inserter(garbage));
  return garbage;
}

// Records of blobs that are gone, and what a process that was killed has left of one.
Result<std::vector<Garbage>> ModelStore::find_verification_garbage() const {
  const auto entries = entries_of(paths_.verified());
  if (!entries) return std::unexpected(entries.error());
  std::vector<Garbage> garbage;
  for (const fs::path& path : *entries) {
    const std::string name = path.filename().string();
    const auto id = BlobId::parse(std::string_view(name).substr(0, name.find('.')));
    const auto state = os::identity_of(path);
    const bool unfinished = name.ends_with(".tmp") && state && state->modified_ns + kOldNs < os::file_time_now_ns();
    if ((id && !blob_bytes(*id)) || unfinished) garbage.push_back({Garbage::Kind::kVerification, path, bytes_in(path), {}});
  }
  return garbage;
}

void ModelStore::find_blob_garbage(const fs::path& group, const std::set<BlobId>& needed, std::vector<Garbage>& garbage) const {
  constexpr std::string_view kPartial = ".partial-";
  const auto entries = entries_of(group);
  if (!entries) return;
  for (const fs::path& entry : *entries) {
    const std::string name = entry.filename().string();
    const bool partial = name.starts_with(kPartial);
    const auto id = BlobId::parse(partial ? std::string_view(name).substr(kPartial.size()) : std::string_view(name));
    if (!id) continue;  // not ours
    const auto produced = is_locked(paths_.blob_lock(*id));
    if (!produced || *produced) continue;
    if (partial) {
      garbage.push_back({Garbage::Kind::kPartial, entry, bytes_in(entry), id->hex()});
    } else if (!needed.contains(*id) && blob_bytes(*id)) {
      const auto held = is_held(entry / "data");
      if (held && !*held) garbage.push_back({Garbage::Kind::kBlob, entry / "data", bytes_in(entry), id->hex()});
    }
  }
}

// Why the blob stays; empty if it is gone.
Result<std::string> ModelStore::remove_blob(const BlobId& id, const std::set<BlobId>& keep) {
  auto lock = os::FileLock::try_exclusive(paths_.blob_lock(id));
  if (!lock) return std::unexpected(lock.error());
  if (!*lock) return "another process is producing it";
  auto needed = needed_blobs(keep);
  if (!needed) return needed.error().message;
  if (keep.contains(id)) return "the config file names it";
  if (needed->contains(id)) return "another model needs it";
  auto fd = os::open_regular_file(paths_.blob(id));
  if (!fd && fd.error().code == Code::kNotFound) return std::string();
  if (!fd) return std::unexpected(fd.error());
  auto alone = os::try_lock_exclusive(fd->get());
  if (!alone) return std::unexpected(alone.error());
  if (!*alone) return "a running daemon holds it";
  const fs::path folder = paths_.blob_folder(id);
  if (auto gone = files_->remove(paths_.blob(id)); !gone) return std::unexpected(gone.error());
  VerificationRecords(paths_, *files_).forget(id);
  if (auto synced = files_->sync_folder(folder); !synced) return std::unexpected(synced.error());
  if (auto gone = files_->remove_empty_folder(folder); !gone) return std::unexpected(gone.error());
  if (auto synced = files_->sync_folder(paths_.blob_group(id)); !synced) return std::unexpected(synced.error());
  return std::string();
}

// A folder of ours with nothing but files in it.
Status ModelStore::remove_tree(const fs::path& folder) {
  if (auto gone = files_->remove_files_in(folder); !gone) return gone;
  if (auto gone = files_->remove_empty_folder(folder); !gone) return gone;
  return files_->sync_folder(folder.parent_path());
}

Result<std::string> ModelStore::collect_one(const Garbage& garbage, const std::set<BlobId>& keep) {
  if (garbage.kind == Garbage::Kind::kBlob || garbage.kind == Garbage::Kind::kPartial) {
    const auto id = BlobId::parse(garbage.id);
    if (!id) return std::unexpected(id.error());
    if (garbage.kind == Garbage::Kind::kBlob) return remove_blob(*id, keep);
    auto lock = os::FileLock::try_exclusive(paths_.blob_lock(*id));
    if (!lock) return std::unexpected(lock.error());
    if (!*lock) return "another process is producing it";
    if (auto gone = remove_tree(paths_.partial_folder(*id)); !gone) return std::unexpected(gone.error());
    return std::string();
  }
  if (garbage.kind == Garbage::Kind::kImport) {
    auto held = is_locked(garbage.path / kImportLock);
    if (!held) return std::unexpected(held.error());
    if (*held) return "another process is importing it";
    if (auto gone = remove_tree(garbage.path); !gone) return std::unexpected(gone.error());
    return std::string();
  }
  std::optional<os::FileLock> writer;
  if (const auto name = model_of(garbage.path.parent_path() / garbage.path.stem()); garbage.kind == Garbage::Kind::kManifestRest && name) {
    auto lock = os::FileLock::try_exclusive(paths_.name_lock(*name));
    if (!lock) return std::unexpected(lock.error());
    if (!*lock) return "another process is writing it";
    writer = std::move(*lock);
  }
  if (auto gone = files_->remove(garbage.path); !gone) return std::unexpected(gone.error());
  if (auto synced = files_->sync_folder(garbage.path.parent_path()); !synced) return std::unexpected(synced.error());
  return std::string();
}

Collected ModelStore::collect(const std::vector<Garbage>& garbage, const std::set<BlobId>& keep) {
  Collected collected;
  for (const Garbage& item : garbage) {
    auto kept = collect_one(item, keep);
    if (!kept) {
      collected.kept.emplace_back(item, kept.error().message);
    } else if (!kept->empty()) {
      collected.kept.emplace_back(item, *kept);
    } else {
      collected.bytes += item.bytes;
    }
  }
  return collected;
}

}  // namespace inferd::store
