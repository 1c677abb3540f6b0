// A download that has not ended: its bytes, and a record of which of them are there, so that the next process goes on where this one was
// killed. One thread, which holds the blob's ProducerLock. Owns the open file.
//
// Two records of one form lie beside data.tmp. Bytes that were written survive the death of the process at once, and a power cut only when
// they are synced, so:
//
//   data.tmp.recent   every 2 MiB, never synced; holds for this start of the machine only (it carries the kernel's boot id)
//   data.tmp.ranges   every 64 MiB: data.tmp is synced first, then this record is replaced durably; holds always
//
//   inferd-partial 1
//   boot <boot id, or - : any>
//   url <where the bytes came from>
//   mixed <yes, or - : all of them from that URL>
//   validator <ETag or Last-Modified of that, or ->
//   total <bytes of the whole, or ->
//   ranges <begin>-<end> ...        (without end)
//   check <SHA-256 of the lines above>
//
// A record that does not fit is no record: the download starts from zero. What comes out is hashed as a whole in any case. The file is cut
// behind the last byte that the record vouches for, so that no old end is left behind a shorter model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/durable_file.h"
#include "store/byte_ranges.h"
#include "store/store_paths.h"

namespace inferd::store {

class PartialFile {
 public:
  struct Origin {
    std::string url, validator;
    std::optional<uint64_t> total;
    bool mixed = false;  // some bytes are another URL's
  };
  /// Bytes between two records.
  struct Pace {
    uint64_t recent = 2u << 20, durable = 64u << 20;
  };

  /// Makes the folder and the file if they are missing, and takes over what a record vouches for.
  static Result<PartialFile> open(os::FileSystem& files, const StorePaths& paths, const BlobId& id, Pace pace);

  const Origin& origin() const { return origin_; }
  void set_origin(Origin origin) { origin_ = std::move(origin); }
  const ByteRanges& ranges() const { return ranges_; }
  int fd() const { return file_->fd(); }

  Status write(uint64_t offset, std::string_view bytes);
  /// Records what has been written since the last record, for the next process of this start of the machine.
  Status record_recent();
  /// Throws every byte away.
  Status restart();
  /// The file is cut to the `bytes` that it should have, and they are on the disk. kIntegrity if it is shorter.
  Status sync(uint64_t bytes);
  /// The records are gone, durably: whatever becomes of the bytes, nobody goes on with them.
  Status forget_records();

 private:
  PartialFile(os::FileSystem& files, std::filesystem::path path, std::unique_ptr<os::DurableFile> file, Pace pace)
      : files_(&files), path_(std::move(path)), file_(std::move(file)), pace_(pace) {}
  Status read_records();
  Result<uint64_t> size() const;
  std::string record(std::string_view boot) const;
  bool take_record(std::string_view text, std::string_view boot);
  std::filesystem::path beside(std::string_view suffix) const;

  os::FileSystem* files_;
  std::filesystem::path path_;
  std::unique_ptr<os::DurableFile> file_;
  Pace pace_;
  Origin origin_;
  ByteRanges ranges_;
  uint64_t since_recent_ = 0, since_durable_ = 0;  // bytes written
};

}  // namespace inferd::store
