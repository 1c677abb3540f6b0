// Files and folders that must survive a power cut. Every call that changes the model store goes through FileSystem, so that a test can
// record the calls and cut the power between any two of them. Any thread. Files that it makes are 0600, folders 0700.
//
// What a power cut leaves (POSIX promises no more): bytes of a file up to its last sync(), names in a folder up to its last
// sync_folder(). A rename replaces a name at once: the name is the old file or the new one, never neither.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>

#include "base/error.h"

namespace inferd::os {

/// A file that is open for reading and writing; closed with the object. Errors name the path.
class DurableFile {
 public:
  virtual ~DurableFile() = default;
  virtual Status write_at(uint64_t offset, std::string_view bytes) = 0;
  virtual Status resize(uint64_t bytes) = 0;
  /// When it returns, bytes and size are on the disk; the file's name is not (FileSystem::sync_folder).
  virtual Status sync() = 0;
  virtual int fd() const = 0;
};

/// How a copy shares its bytes with the original: blocks copied on write, the same file under a second name, or nothing.
enum class CopyKind { kReflink, kHardLink, kCopy };

class FileSystem {
 public:
  enum class Open { kEmpty, kAsItIs };  // what happens to the bytes of a file that is there

  virtual ~FileSystem() = default;
  /// Makes the file if it is missing. A symbolic link is refused.
  virtual Result<std::unique_ptr<DurableFile>> open(const std::filesystem::path& path, Open how) = 0;
  /// One folder; one that is there is fine. A symbolic link to one is fine too if it is root's or our own: in a folder that others may
  /// write to, their links lead where they like.
  virtual Status make_folder(const std::filesystem::path& path) = 0;
  virtual Status rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// kInUse if `to` is there: nothing is replaced.
  virtual Status rename_to_new(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// A file that is missing is fine.
  virtual Status remove(const std::filesystem::path& path) = 0;
  /// Removes every file of a folder that is missing or has nothing but regular files in it; kNotPermitted for anything else, and for a
  /// symbolic link to a folder.
  virtual Status remove_files_in(const std::filesystem::path& folder) = 0;
  /// A folder that is missing or not empty is left as it is.
  virtual Status remove_empty_folder(const std::filesystem::path& path) = 0;
  /// When it returns, the bytes of a file that is there are on the disk, whoever wrote them.
  virtual Status sync_file(const std::filesystem::path& path) = 0;
  /// When it returns, the names in the folder are on the disk.
  virtual Status sync_folder(const std::filesystem::path& path) = 0;
  /// Makes `to`, which must be missing, with the bytes of the open file `from`, in the cheapest way that works; not yet on the disk.
  /// `go_on(bytes copied)` is asked now and then; false ends it with kBackendUnavailable.
  virtual Result<CopyKind> copy(int from, const std::filesystem::path& to, const std::function<bool(uint64_t)>& go_on) = 0;
};

/// The real one.
FileSystem& file_system();

/// Makes every folder of `below` (relative) under `base`. Each parent is synced, also of a folder that is there: the process that made it
/// may have been killed before it synced.
Status make_durable_folders(FileSystem& files, const std::filesystem::path& base, const std::filesystem::path& below);

/// Replaces the file's content: "<path>.tmp" is written and synced, renamed over `path`, and the folder is synced. Whenever the power goes,
/// the file is the old one or the new one. One writer at a time (the caller holds a lock).
Status replace_file(FileSystem& files, const std::filesystem::path& path, std::string_view content);

/// A file with that content, which is on the disk; its name is not (sync_folder).
Status write_synced_file(FileSystem& files, const std::filesystem::path& path, std::string_view content);

}  // namespace inferd::os
