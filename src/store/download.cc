#include "store/download.h"

#include <algorithm>
#include <limits>
#include <random>
#include <system_error>
#include <thread>

#include "base/log.h"
#include "base/size_text.h"

namespace inferd::store {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr size_t kMostRestarts = 5;
constexpr uint64_t kProgressBytes = 1u << 20;

// True if the same request may go well a little later.
bool is_worth_another_attempt(const http::Ended& ended) {
  const int status = ended.head.status;
  switch (ended.trouble) {
    case http::Trouble::kStatus:
      return status == 408 || status == 425 || status == 429 || status >= 500;
    case http::Trouble::kNone:
    case http::Trouble::kResolve:
    case http::Trouble::kConnect:
    case http::Trouble::kConnectTimeout:
    case http::Trouble::kStalled:
    case http::Trouble::kCut:
      return true;
    default:
      return false;
  }
}

FetchError error_of(http::Trouble trouble) {
  switch (trouble) {
    case http::Trouble::kBadUrl: return FetchError::kBadUrl;
    case http::Trouble::kInsecureRedirect: return FetchError::kInsecureRedirect;
    case http::Trouble::kTooManyRedirects: return FetchError::kTooManyRedirects;
    case http::Trouble::kResolve: return FetchError::kResolveFailed;
    case http::Trouble::kConnect: return FetchError::kConnectFailed;
    case http::Trouble::kConnectTimeout: return FetchError::kConnectTimeout;
    case http::Trouble::kTls: return FetchError::kTlsFailed;
    case http::Trouble::kStalled: return FetchError::kStalled;
    case http::Trouble::kStatus: return FetchError::kHttpStatus;
    case http::Trouble::kProtocol: return FetchError::kBadReply;
    case http::Trouble::kNone:
    case http::Trouble::kStopped:
    case http::Trouble::kCut: return FetchError::kConnectionLost;
  }
  return FetchError::kBadReply;
}

}  // namespace

// One request and where its bytes go.
class Download::Segment : public http::Receiver {
 public:
  Segment(Download& download, ByteRanges::Range range) : download_(download), at(range.begin), end(range.end) {}
  bool on_head(const http::ReplyHead& head) override { return download_.on_head(*this, head); }
  bool on_body(std::string_view bytes) override { return download_.on_body(*this, bytes); }

 private:
  Download& download_;

 public:
  uint64_t at, end;          // the next byte; behind the last one
  bool whole = false;        // a whole answer instead of a range
  bool room_ends = false;    // `end` is where the file system is full
  bool abandoned = false;    // its bytes are of no use any more
};

Download::Download(http::Transfers& transfers, PartialFile& partial, std::filesystem::path folder, DownloadOptions options, Hooks hooks)
    : transfers_(transfers), partial_(partial), folder_(std::move(folder)), options_(options), hooks_(std::move(hooks)) {}

Download::~Download() { stop_segments(); }

Status Download::begin_hash() {
  hash_.reset();
  auto hash = FollowingHash::start(partial_.fd());
  if (!hash) return std::unexpected(hash.error());
  hash_ = std::move(*hash);
  hash_->available(partial_.ranges().contiguous());
  return {};
}

Fetching<Download::Whole> Download::run(const std::string& url) {
  auto whole = run_to_the_end(url);
  if (whole) return whole;
  // What has come so far is there for the next attempt; if even that cannot be written, the first failure is the one to tell.
  if (auto recorded = partial_.record_recent(); !recorded) log::warn("store", "{}", recorded.error().message);
  return whole;
}

Fetching<Download::Whole> Download::run_to_the_end(const std::string& url) {
  if (!hash_) {
    if (auto begun = begin_hash(); !begun) return store_fail(begun.error());
  }
  take_url(url);
  restarts_ = 0;
  auto wait = options_.first_pause;
  for (size_t failures = 0; !complete();) {
    const uint64_t before = most_bytes_ = std::max(most_bytes_, partial_.ranges().total());
    auto failed = attempt();
    stop_segments();
    if (!failed) break;
    if (most_bytes_ >= before + kProgressBytes) {
      failures = 0;
      wait = options_.first_pause;
    }
    if (!failed->again || ++failures >= options_.attempts) return std::unexpected(failed->failure);
    if (!pause(failed->retry_after ? std::min<std::chrono::milliseconds>(*failed->retry_after, options_.longest_retry_after) : wait)) {
      return fetch_fail(FetchError::kCancelled, "the download of " + shown() + " was stopped");
    }
    wait = std::min(2 * wait, options_.longest_pause);
  }
  const uint64_t total = *partial_.origin().total;
  if (auto synced = partial_.sync(total); !synced) return store_fail(synced.error());
  auto digest = hash_->finish(total, hooks_.cancelled, [&](uint64_t bytes) { hooks_.hashing(bytes, total); });
  if (!digest) return store_fail(digest.error());
  hash_.reset();
  return Whole{std::move(*digest), total};
}

// What is there of another URL stays, and stays that URL's until an answer of this one adds to it (take_head).
void Download::take_url(const std::string& url) {
  url_ = url;
  contradicted_ = false;
  foreign_ = partial_.origin().url != url && partial_.ranges().total() > 0;
  if (partial_.origin().url != url && !foreign_) partial_.set_origin({.url = url, .validator = {}, .total = {}});
}

// Bytes are there, or another segment has been told which file they will be of.
bool Download::has_begun() const { return ranges_ || partial_.ranges().total() > 0; }

bool Download::complete() const {
  const auto total = partial_.origin().total;
  return total && partial_.ranges().contiguous() >= *total;
}

// Until the file is complete, or why not.
std::optional<Download::Attempt> Download::attempt() {
  failed_.reset();
  ranges_ = whole_ = false;
  connections_ = options_.most_connections;
  while (!complete()) {
    start_segments();
    for (const auto& ended : transfers_.run(kTick)) settle(ended);
    stop_segments([](const Segment& segment) { return segment.abandoned; });
    hooks_.progress(partial_.ranges().total(), partial_.origin().total);
    if (hooks_.cancelled.load(std::memory_order_relaxed)) {
      return Attempt{{FetchError::kCancelled, "the download of " + shown() + " was stopped"}, false, {}};
    }
    if (failed_) return failed_;
  }
  return std::nullopt;
}

size_t Download::connections_wanted() const {
  const auto total = partial_.origin().total;
  if (!ranges_ || whole_ || !total) return 1;
  const uint64_t segments = (*total + options_.segment_bytes - 1) / options_.segment_bytes;
  return std::min({connections_, options_.most_connections, static_cast<size_t>(std::max<uint64_t>(1, segments))});
}

void Download::start_segments() {
  const uint64_t limit = partial_.origin().total.value_or(std::numeric_limits<uint64_t>::max());
  while (!failed_ && segments_.size() < connections_wanted()) {
    ByteRanges taken = partial_.ranges();
    for (const auto& segment : segments_) taken.add({segment->at, segment->end});
    // first_gap() looks behind the bytes from 0 on, so the claims of running segments are passed by as if they were there.
    const auto gap = taken.first_gap(limit, options_.segment_bytes);
    if (!gap) return;
    start_segment(*gap);
  }
}

void Download::start_segment(ByteRanges::Range range) {
  http::Get get{.url = url_, .range = http::Get::Range{range.begin, range.end - 1}, .if_range = {}};
  if (has_begun() && !foreign_) get.if_range = partial_.origin().validator;
  auto segment = std::make_unique<Segment>(*this, range);
  if (auto started = transfers_.start(get, *segment); !started) {
    give_up(started.error().code == Code::kUsage ? FetchError::kBadUrl : FetchError::kConnectFailed, started.error().message);
    return;
  }
  segments_.push_back(std::move(segment));
}

void Download::stop_segments() {
  stop_segments([](const Segment&) { return true; });
}

void Download::stop_segments(const std::function<bool(const Segment&)>& of_no_use) {
  std::erase_if(segments_, [&](const auto& segment) {
    if (!of_no_use(*segment)) return false;
    transfers_.stop(*segment);
    return true;
  });
}

std::optional<Download::Attempt> Download::attempt_of(const http::Ended& ended) const {
  const std::string why = ended.trouble == http::Trouble::kNone ? "the answer is shorter than the file" : ended.message;
  return Attempt{{error_of(ended.trouble), shown() + ": " + why}, is_worth_another_attempt(ended), ended.head.retry_after};
}

// A transfer has ended: well, or so that the others go on alone, or as the last one.
void Download::settle(const http::Ended& ended) {
  const auto at = std::ranges::find(segments_, ended.receiver, [](const auto& segment) -> http::Receiver* { return segment.get(); });
  if (at == segments_.end()) return;
  const std::unique_ptr<Segment> segment = std::move(*at);
  segments_.erase(at);
  if (segment->whole) whole_ = false;
  if (segment->abandoned || failed_) return;
  if (ended.trouble == http::Trouble::kNone && segment->whole && !partial_.origin().total) {
    // The end of the answer is all that says how long the file is.
    if (!is_of_expected_size(segment->at)) return;
    auto origin = partial_.origin();
    origin.total = segment->at;
    partial_.set_origin(std::move(origin));
  }
  if (complete() || segment->at >= segment->end) return;  // it has brought what it should, however it ended
  if (ended.trouble == http::Trouble::kStatus && ended.head.status == 416 && has_begun()) return settle_unsatisfied(*segment);
  auto failed = attempt_of(ended);
  if (segments_.empty() || !failed->again) {
    failed_ = std::move(failed);
  } else {
    connections_ = segments_.size();
  }
}

// The file there is shorter than what we have of it.
void Download::settle_unsatisfied(const Segment& segment) {
  const std::string what = "has no byte at " + std::to_string(segment.at);
  if (options_.expected_size) {
    give_up(FetchError::kSizeMismatch, shown() + " " + what + ", expected are " + std::to_string(*options_.expected_size) + " bytes");
  } else if (foreign_) {
    contradict(what);
  } else {
    restart();
  }
}

bool Download::pause(std::chrono::milliseconds time) {
  // A quarter more or less, so that many clients of one server do not come back in step.
  std::minstd_rand random(std::random_device{}());
  const auto until = std::chrono::steady_clock::now() + time * std::uniform_int_distribution<int>(75, 125)(random) / 100;
  while (std::chrono::steady_clock::now() < until) {
    if (hooks_.cancelled.load(std::memory_order_relaxed)) return false;
    hooks_.progress(partial_.ranges().total(), partial_.origin().total);  // who waits for us sees that we live
    std::this_thread::sleep_for(std::min<std::chrono::steady_clock::duration>(kTick, until - std::chrono::steady_clock::now()));
  }
  return true;
}

bool Download::give_up(FetchError error, std::string message) {
  failed_ = Attempt{{error, std::move(message)}, false, {}};
  return false;
}

// A write that failed because the file system is full is told as that.
bool Download::give_up_writing(const Error& error) {
  return give_up(room() == uint64_t{0} ? FetchError::kNoSpace : FetchError::kStore, error.message);
}

// Nobody knows which of the two URLs is wrong: what is there is not thrown away for what is not.
bool Download::contradict(const std::string& what) {
  contradicted_ = true;
  return give_up(FetchError::kSizeMismatch, shown() + " " + what + ", and the bytes that are there are of another URL's file of " +
                                                std::to_string(partial_.origin().total.value_or(0)) + " bytes");
}

bool Download::is_of_expected_size(uint64_t bytes) {
  const auto expected = options_.expected_size.value_or(bytes);
  if (bytes == expected) return true;
  return give_up(FetchError::kSizeMismatch, shown() + " has " + std::to_string(bytes) + " bytes, expected " + std::to_string(expected));
}

bool Download::on_head(Segment& segment, const http::ReplyHead& head) {
  if (segment.abandoned || failed_) return false;
  return head.status == 206 ? on_range(segment, head) : on_whole(segment, head);
}

bool Download::is_another_file(const http::ReplyHead& head, std::optional<uint64_t> total) const {
  if (!has_begun()) return false;
  const auto& origin = partial_.origin();
  const bool tag = !foreign_ && !origin.validator.empty() && !head.validator.empty() && origin.validator != head.validator;
  return tag || (origin.total && total && *origin.total != *total);
}

// True if there may be another beginning.
bool Download::restart() {
  if (++restarts_ > kMostRestarts) {
    return give_up(FetchError::kBadReply, shown() + ": the server begins again and again (its file changes, or it answers no ranges)");
  }
  return throw_away();
}

// Nothing that is there is of use; whoever runs is abandoned.
bool Download::throw_away() {
  for (const auto& segment : segments_) segment->abandoned = true;
  hash_.reset();  // its thread reads the file that is emptied now
  foreign_ = ranges_ = false;
  if (auto emptied = partial_.restart(); !emptied) return give_up(FetchError::kStore, emptied.error().message);
  partial_.set_origin({.url = url_, .validator = {}, .total = {}});
  if (auto begun = begin_hash(); !begun) return give_up(FetchError::kStore, begun.error().message);
  return true;
}

// Asked before anything is thrown away for an answer that says how long its file is.
bool Download::may_be_the_file(std::optional<uint64_t> total) {
  if (!total) return true;
  if (!is_of_expected_size(*total)) return false;
  if (foreign_ && partial_.origin().total.value_or(*total) != *total) return contradict("has " + std::to_string(*total) + " bytes");
  return has_room_for(*total);
}

// What is there counts as room: either it stays, or it is thrown away first.
bool Download::has_room_for(uint64_t total) {
  const uint64_t missing = total - std::min(total, partial_.ranges().total());
  const auto free = room();
  if (!free || missing <= *free) return true;
  return give_up(FetchError::kNoSpace, folder_.string() + ": " + size_text(missing) + " are missing of " + shown() +
                                           ", and the file system has room for " + size_text(*free) + " (" +
                                           size_text(options_.spare_bytes) + " are left free)");
}

bool Download::refuse_range(const std::string& why) { return give_up(FetchError::kBadReply, shown() + ": the server " + why); }

bool Download::on_range(Segment& segment, const http::ReplyHead& head) {
  const auto& range = head.content_range;
  if (!range || range->first != segment.at || range->last >= segment.end) {
    return refuse_range("answers with another range than was asked for");
  }
  const auto total = range->total ? range->total : options_.expected_size;
  if (!total && !partial_.origin().total) return refuse_range("does not say how long its file is");
  if (!may_be_the_file(total)) return false;
  if (is_another_file(head, range->total)) {
    restart();
    return false;  // the bytes from 0 on come with the next request
  }
  if (range->last >= (total ? *total : *partial_.origin().total)) return refuse_range("answers with bytes behind the end of its file");
  take_head(head.validator, total);
  segment.end = range->last + 1;
  ranges_ = true;
  return true;
}

bool Download::on_whole(Segment& segment, const http::ReplyHead& head) {
  const auto known = head.content_length ? head.content_length : options_.expected_size;
  if (!may_be_the_file(known)) return false;
  if ((partial_.ranges().total() > 0 || segments_.size() > 1) && !restart()) return false;
  segment.abandoned = false;
  segment.at = 0;
  segment.whole = whole_ = true;
  partial_.set_origin({.url = url_, .validator = {}, .total = {}});  // nothing is there: what this answer says counts
  take_head(head.validator, head.content_length);
  segment.room_ends = !known;
  segment.end = known ? *known : room().value_or(std::numeric_limits<uint64_t>::max());
  return true;
}

// What the answer says about the file is what we believe from now on.
void Download::take_head(const std::string& validator, std::optional<uint64_t> total) {
  auto origin = partial_.origin();
  if (foreign_) {
    origin.url = url_;
    origin.mixed = true;
  }
  if (origin.validator.empty() || foreign_ || !has_begun()) origin.validator = validator;
  if (total) origin.total = total;
  foreign_ = false;
  partial_.set_origin(std::move(origin));
}

// How many bytes may still be written; nothing if the system does not say.
std::optional<uint64_t> Download::room() const {
  std::error_code error;
  const auto space = std::filesystem::space(folder_, error);
  if (error) return std::nullopt;
  return space.available - std::min<uint64_t>(space.available, options_.spare_bytes);
}

bool Download::on_body(Segment& segment, std::string_view bytes) {
  if (segment.abandoned || failed_) return false;
  // What has been hashed stays as it is, whatever the server says.
  if (segment.at < partial_.ranges().contiguous()) return refuse_range("sends bytes that are there already");
  if (segment.at > segment.end || bytes.size() > segment.end - segment.at) {
    if (segment.room_ends) {
      throw_away();  // nobody goes on in the middle of such an answer, and others need the room
      return give_up(FetchError::kNoSpace, folder_.string() + ": the file system is full, and " + shown() + " does not say how long it is");
    }
    return give_up(FetchError::kBodyTooLong, shown() + " sends more than the " + std::to_string(segment.end) + " bytes it should have");
  }
  if (auto written = partial_.write(segment.at, bytes); !written) return give_up_writing(written.error());
  segment.at += bytes.size();
  most_bytes_ = std::max(most_bytes_, partial_.ranges().total());
  hash_->available(partial_.ranges().contiguous());
  return true;
}

}  // namespace inferd::store
