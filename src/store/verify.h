// Whether an open file is the blob that it should be. The descriptor that is hashed is the one that is loaded afterwards. Called before a
// model is loaded and by `inferdctl verify`; any thread (it blocks); owns nothing.
//
// A verification may be recorded, so that the next start need not hash 40 GB again:
//
//   locks/verified/<sha>.<uid>   "inferd-verified 1 <sha> <device> <inode> <size> <mtime ns> <ctime ns> <MAC>\n"
//   locks/verified/<uid>.key     64 hex digits, made at random on first use; 0600, and of no use otherwise
//
// MAC = HMAC-SHA256(key, the text before it). The record counts if device, inode, size, mtime and ctime of the open file are those in it.
//
// What that protects against: another user who may not act as us. Without write access to the blob he can change nothing. With write
// access to the blob or its folder (a store shared by a group) he can change bytes or put another file in place, but the kernel then
// sets the ctime (of a new inode, too) and no user can set it back, so the record no longer fits; and he cannot write a record that
// does, because he cannot read the key. A file that was changed less than two seconds before hashing began is not recorded: a change in
// the same tick of the clock would not show.
// What it does not protect against: our own user and root (they read the key, set the clock, write the device); a writable
// mapping that was made and dirtied before the verification; bits that rot on the disk under an unchanged inode; file systems whose
// server lies about ctime. kAlways is for those.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "base/error.h"
#include "os/durable_file.h"
#include "os/file_reader.h"
#include "store/store_paths.h"

namespace inferd::store {

class VerificationRecords {
 public:
  explicit VerificationRecords(StorePaths paths, os::FileSystem& files = os::file_system()) : paths_(std::move(paths)), files_(&files) {}

  /// False also if there is no record, no key, or either is not as it should be.
  bool vouch_for(const BlobId& id, const os::FileIdentity& file) const;
  Status remember(const BlobId& id, const os::FileIdentity& file);
  /// After bytes were found to be wrong (under an unchanged inode too, as when bits rot), or are gone: every user's record. One that
  /// cannot be removed is logged.
  void forget(const BlobId& id);

 private:
  Result<std::string> key() const;
  Result<std::string> key_or_new();
  Result<std::filesystem::path> write_next(const std::filesystem::path& path, const std::string& text);
  std::filesystem::path key_path() const;
  std::filesystem::path record_path(const BlobId& id) const;

  StorePaths paths_;
  os::FileSystem* files_;
};

enum class VerifyPolicy { kAlways, kRecorded };

struct VerifyHooks {
  const std::atomic<bool>& cancelled;
  std::function<void(uint64_t bytes, uint64_t total)> progress;  // at 0, every 32 MiB or second, and at the end
};

struct Verified {
  uint64_t bytes = 0;
  bool from_record = false;
};

/// kIntegrity if the bytes are not those of `id` (the message names both digests) or the file changed while it was hashed. With kRecorded
/// a record is believed; a verification is recorded with either policy. `records` may be null. `shown` is the path for messages. A record
/// that cannot be written is logged as a warning: the file is good all the same.
Result<Verified> verify_open_file(int fd, const std::filesystem::path& shown, const BlobId& id, VerifyPolicy policy,
                                  VerificationRecords* records, const VerifyHooks& hooks);

}  // namespace inferd::store
