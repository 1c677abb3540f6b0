// Brings the bytes of one file into its partial file: from several connections where the server answers ranges, again and again where it
// does not hold, and hashed behind the writing. One thread, which runs the transfers; owns the hash's thread.
//
// Every request is for a range, at most segment_bytes long and the first bytes that are missing, so that the hash can follow:
//
//   206, the range and the file asked for   written; the first such answer lets further connections start
//   206 of another file (tag or size)       the file changed on the server: from zero
//   200                                     no ranges, or If-Range says that the file changed: this answer is taken from zero, alone
//
// A connection that fails leaves its rest to the others, and their number falls; when the last one fails, there is a pause (Retry-After, or
// twice as long each time), and on it goes. Bytes of one URL are kept when the next one is tried (once that has added to them, they are
// mixed()): it is the digest that decides. An answer that can be of no use (its size is not the configured one, there is no room for it, or
// it is not of the size that the bytes of another URL are of) ends the source and throws nothing away.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "http/transfer.h"
#include "store/fetch_error.h"
#include "store/following_hash.h"
#include "store/partial_file.h"

namespace inferd::store {

struct DownloadOptions {
  std::optional<uint64_t> expected_size;
  uint64_t segment_bytes = 64u << 20;
  size_t most_connections = 4;  // of a file of four segments or more
  /// Attempts that fail without new bytes before the source is given up, and the pause after the first one.
  size_t attempts = 6;
  std::chrono::milliseconds first_pause{500}, longest_pause{30'000}, longest_retry_after{300'000};
  /// What a download leaves free on the file system.
  uint64_t spare_bytes = 64u << 20;
};

class Download {
 public:
  struct Hooks {
    const std::atomic<bool>& cancelled;
    std::function<void(uint64_t bytes, std::optional<uint64_t> total)> progress;  // several times a second
    std::function<void(uint64_t bytes, uint64_t total)> hashing;                  // after the last byte
  };

  Download(http::Transfers& transfers, PartialFile& partial, std::filesystem::path folder, DownloadOptions options, Hooks hooks);
  ~Download();
  Download(const Download&) = delete;
  Download& operator=(const Download&) = delete;

  struct Whole {
    std::string sha256;
    uint64_t bytes = 0;
  };
  /// Until the whole file is there, on the disk and hashed. After a failure another URL may be tried.
  Fetching<Whole> run(const std::string& url);

  /// True if the bytes come from more than one URL.
  bool mixed() const { return partial_.origin().mixed; }
  /// True if the source was given up because its file has another size than the bytes that are there of another URL.
  bool contradicted() const { return contradicted_; }

 private:
  class Segment;
  struct Attempt {
    FetchFailure failure;
    bool again = false;  // worth another attempt at the same URL
    std::optional<std::chrono::seconds> retry_after;
  };

  Fetching<Whole> run_to_the_end(const std::string& url);
  Status begin_hash();
  void take_url(const std::string& url);
  std::optional<Attempt> attempt();
  std::optional<Attempt> attempt_of(const http::Ended& ended) const;
  void start_segments();
  void start_segment(ByteRanges::Range range);
  size_t connections_wanted() const;
  void settle(const http::Ended& ended);
  void stop_segments();
  void stop_segments(const std::function<bool(const Segment&)>& of_no_use);
  bool pause(std::chrono::milliseconds time);

  // Called by segments, within transfers_.run(). False: the transfer ends.
  bool on_head(Segment& segment, const http::ReplyHead& head);
  bool on_whole(Segment& segment, const http::ReplyHead& head);
  bool on_range(Segment& segment, const http::ReplyHead& head);
  bool on_body(Segment& segment, std::string_view bytes);
  bool is_another_file(const http::ReplyHead& head, std::optional<uint64_t> total) const;
  bool may_be_the_file(std::optional<uint64_t> total);
  bool has_room_for(uint64_t total);
  bool refuse_range(const std::string& why);
  void settle_unsatisfied(const Segment& segment);
  bool restart();
  bool throw_away();
  void take_head(const std::string& validator, std::optional<uint64_t> total);
  bool give_up(FetchError error, std::string message);
  bool give_up_writing(const Error& error);
  bool contradict(const std::string& what);
  bool is_of_expected_size(uint64_t bytes);
  std::optional<uint64_t> room() const;
  std::string shown() const { return http::shown_url(url_); }
  bool complete() const;
  bool has_begun() const;

  http::Transfers& transfers_;
  PartialFile& partial_;
  const std::filesystem::path folder_;
  const DownloadOptions options_;
  const Hooks hooks_;
  std::unique_ptr<FollowingHash> hash_;
  std::list<std::unique_ptr<Segment>> segments_;  // that run
  std::string url_;
  bool foreign_ = false;      // the bytes that are there are another URL's, whose tag means nothing to this one
  bool contradicted_ = false;
  bool ranges_ = false;       // this attempt has had a range
  bool whole_ = false;        // a segment takes a whole answer: nobody else may write
  size_t connections_ = 1;    // at most, in this attempt
  size_t restarts_ = 0;
  uint64_t most_bytes_ = 0;   // that were ever there: what counts as progress
  std::optional<Attempt> failed_;
};

}  // namespace inferd::store
