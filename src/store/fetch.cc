#include "store/fetch.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <utility>
#include <variant>

#include "base/log.h"
#include "base/url_text.h"
#include "os/file_reader.h"
#include "store/digest.h"
#include "store/producer_lock.h"

namespace inferd::store {
namespace {

using Clock = std::chrono::steady_clock;

// Lets a phase through when enough has changed since the last one.
class PhasePace {
 public:
  explicit PhasePace(const FetchOptions& options) : bytes_(options.phase_bytes), time_(options.phase_time) {}
  bool is_due(uint64_t at, bool last) {
    const auto now = Clock::now();
    const bool due = !told_ || at < *told_ || at - *told_ >= bytes_ || now - when_ >= time_ || (last && at != *told_);
    if (due) {
      told_ = at;
      when_ = now;
    }
    return due;
  }

 private:
  const uint64_t bytes_;
  const std::chrono::milliseconds time_;
  std::optional<uint64_t> told_;
  Clock::time_point when_;
};

Phase::Value number_or_null(std::optional<uint64_t> number) {
  if (!number) return Phase::Value(std::in_place_type<std::nullptr_t>, nullptr);
  return *number;
}

// What the admin socket and the manifest may show: no user name and no password. The query stays, as in 0.2.1.
std::string public_url(const std::string& url) {
  return http::shown_url(url) + std::string(split_url(url).query);
}

bool is_plain(const std::string& url) {
  return std::ranges::none_of(url, [](unsigned char c) { return c <= 0x20 || c == 0x7F; });
}

class Fetch {
 public:
  Fetch(ModelStore& store, const FetchRequest& request, const FetchOptions& options, const FetchHooks& hooks)
      : store_(store), request_(request), options_(options), hooks_(hooks) {}

  Fetching<Fetched> run();

 private:
  struct Outcome {
    Download::Whole whole;
    bool mixed = false;
  };

  std::filesystem::path blob() const { return store_.paths().blob(request_.id); }
  void tell(std::string name, std::map<std::string, Phase::Value> fields) { hooks_.on_phase(Phase{std::move(name), std::move(fields)}); }
  void tell_download(uint64_t bytes, std::optional<uint64_t> total, const std::string& url);
  void tell_verify(const std::filesystem::path& path, uint64_t bytes, uint64_t total);
  void tell_others(const ProducerProgress& progress);
  Fetching<std::optional<Fetched>> already_there();
  Fetching<std::optional<Fetched>> verified_blob();
  Fetching<bool> check_urls() const;
  Fetching<Fetched> download();
  bool may_try_next(FetchError error) const;
  Fetching<bool> begin_again();
  Fetching<bool> check_length(const Download::Whole& whole) const;
  Fetching<Outcome> download_from(http::Transfers& transfers, const std::string& url);
  Fetching<bool> move_to_quarantine(const std::filesystem::path& file, const std::string& digest);
  Fetching<Fetched> finish(uint64_t bytes, const std::string& url, Fetched::How how);

  ModelStore& store_;
  const FetchRequest& request_;
  const FetchOptions& options_;
  const FetchHooks& hooks_;
  std::optional<ProducerLock> lock_;
  bool contradicted_ = false, begun_again_ = false;
};

void Fetch::tell_download(uint64_t bytes, std::optional<uint64_t> total, const std::string& url) {
  tell("download", {{"downloaded_bytes", bytes}, {"source_url", url}, {"total_bytes", number_or_null(total)}});
}

void Fetch::tell_verify(const std::filesystem::path& path, uint64_t bytes, uint64_t total) {
  tell("verify", {{"path", path.string()}, {"total_bytes", total}, {"verified_bytes", bytes}});
}

// What another process tells while we wait for it, as if we did it.
void Fetch::tell_others(const ProducerProgress& progress) {
  if (progress.phase == "verify") {
    tell_verify(store_.paths().partial(request_.id), progress.bytes, progress.total.value_or(progress.bytes));
  } else {
    tell_download(progress.bytes, progress.total, progress.source_url);
  }
}

Fetching<Fetched> Fetch::run() {
  tell("checking_local", {{"path", blob().string()}});
  if (auto there = already_there(); !there || *there) return there ? Fetching<Fetched>(**there) : std::unexpected(there.error());
  PhasePace pace(options_);
  const auto on_progress = [&](const ProducerProgress& progress) {
    if (pace.is_due(progress.bytes, progress.bytes == progress.total)) tell_others(progress);
  };
  auto lock = ProducerLock::acquire(store_.paths(), request_.name, request_.id,
                                    {.cancelled = hooks_.cancelled, .on_progress = on_progress, .poll = options_.poll});
  if (!lock) return store_fail(lock.error());
  lock_.emplace(std::move(*lock));
  if (auto there = already_there(); !there || *there) return there ? Fetching<Fetched>(**there) : std::unexpected(there.error());
  if (auto there = verified_blob(); !there || *there) return there ? Fetching<Fetched>(**there) : std::unexpected(there.error());
  if (auto checked = check_urls(); !checked) return std::unexpected(checked.error());
  return download();
}

Fetching<std::optional<Fetched>> Fetch::already_there() {
  if (request_.distrust) return std::nullopt;
  const auto manifest = store_.manifest(request_.name);
  if (!manifest && manifest.error().code == Code::kNotFound) return std::nullopt;
  if (!manifest) return store_fail(manifest.error());
  if (manifest->blob_id() != request_.id) {
    log::warn("store", "the manifest of {} names {}, wanted is sha256:{}: it will be replaced", request_.name.text(), manifest->blob,
              request_.id.hex());
    return std::nullopt;
  }
  const auto bytes = store_.blob_bytes(request_.id);
  if (!bytes || *bytes != manifest->size_bytes) return std::nullopt;
  return Fetched{.blob = blob(), .bytes = *bytes, .how = Fetched::How::kWasThere};
}

// A blob without a manifest that vouches for it. A wrong one is moved away.
Fetching<std::optional<Fetched>> Fetch::verified_blob() {
  const auto total = store_.blob_bytes(request_.id);
  if (!total) return std::nullopt;
  auto held = store_.hold(request_.id);
  if (!held) return store_fail(held.error());
  PhasePace pace(options_);
  const auto told = [&](uint64_t bytes) {
    lock_->show({.phase = "verify", .bytes = bytes, .total = *total, .source_url = {}});
    if (pace.is_due(bytes, bytes == *total)) tell_verify(blob(), bytes, *total);
  };
  told(0);
  auto digest = sha256_of(held->fd.get(), hooks_.cancelled, told);
  if (!digest) return store_fail(digest.error());
  told(*total);
  if (*digest != request_.id.hex()) {
    if (auto moved = move_to_quarantine(blob(), *digest); !moved) return std::unexpected(moved.error());
    return std::nullopt;
  }
  auto finished = finish(*total, request_.urls.empty() ? std::string() : request_.urls.front(), Fetched::How::kVerified);
  if (!finished) return std::unexpected(finished.error());
  return *finished;
}

Fetching<bool> Fetch::check_urls() const {
  if (request_.urls.empty() || request_.urls.front().empty()) {
    return fetch_fail(FetchError::kNoSource, "the model " + request_.name.text() + " is not in the store (" + blob().string() +
                                                 ") and no source_url is configured");
  }
  for (const std::string& url : request_.urls) {
    if (!is_plain(url)) return fetch_fail(FetchError::kBadUrl, "a URL of the model has a space or a control character");
    if (!url.starts_with("https://")) return fetch_fail(FetchError::kNotHttps, http::shown_url(url) + ": only https:// is fetched");
  }
  return true;
}

// True if another URL may do what this one could not. What one server says of its file's size is no fact about the disk.
bool Fetch::may_try_next(FetchError error) const {
  if (error == FetchError::kNoSpace) return !request_.size_bytes;
  return error != FetchError::kCancelled && error != FetchError::kStore;
}

// When every URL has failed: true, and nothing is there any more, if one of them was given up for the sake of another's bytes, which may
// be what is wrong.
Fetching<bool> Fetch::begin_again() {
  if (!contradicted_ || std::exchange(begun_again_, true)) return false;
  log::warn("store", "no URL of {} goes on with the bytes that are there: they are thrown away", request_.name.text());
  auto partial = PartialFile::open(store_.files(), store_.paths(), request_.id, options_.pace);
  if (!partial) return store_fail(partial.error());
  if (auto emptied = partial->restart(); !emptied) return store_fail(emptied.error());
  return true;
}

// What gets the final name is what was hashed and nothing behind it.
Fetching<bool> Fetch::check_length(const Download::Whole& whole) const {
  const auto path = store_.paths().partial(request_.id);
  const auto state = os::identity_of(path);
  if (!state) return store_fail(state.error());
  if (state->size == whole.bytes) return true;
  return fetch_fail(FetchError::kStore, path.string() + " has " + std::to_string(state->size) + " bytes, hashed were " +
                                            std::to_string(whole.bytes) + ": somebody else writes to it");
}

Fetching<Fetched> Fetch::download() {
  auto transfers = hooks_.transfers();
  if (!transfers) return store_fail(transfers.error());
  std::optional<FetchFailure> failure;
  bool once_more = true;  // after a wrong digest
  for (size_t source = 0; source < request_.urls.size();) {
    const std::string& url = request_.urls[source];
    auto outcome = download_from(**transfers, url);
    if (!outcome) {
      failure = outcome.error();
      if (!may_try_next(failure->error)) break;
      if (++source < request_.urls.size()) {
        log::warn("store", "{}: trying the next mirror", as_error(*failure).message);
        continue;
      }
      const auto again = begin_again();
      if (!again) return std::unexpected(again.error());
      if (*again) source = 0;
      continue;
    }
    const auto& [whole, mixed] = *outcome;
    if (whole.sha256 == request_.id.hex()) {
      if (auto checked = check_length(whole); !checked) return std::unexpected(checked.error());
      if (auto added = store_.add_blob(request_.id, store_.paths().partial(request_.id)); !added) return store_fail(added.error());
      return finish(whole.bytes, url, Fetched::How::kDownloaded);
    }
    failure = FetchFailure{FetchError::kSha256Mismatch,
                           http::shown_url(url) + " has the SHA-256 " + whole.sha256 + ", expected " + request_.id.hex()};
    if (auto moved = move_to_quarantine(store_.paths().partial(request_.id), whole.sha256); !moved) return std::unexpected(moved.error());
    if (mixed) continue;  // another URL's bytes may be the wrong ones: from this one alone
    if (!std::exchange(once_more, false)) break;
    ++source;
  }
  return std::unexpected(*failure);
}

Fetching<Fetch::Outcome> Fetch::download_from(http::Transfers& transfers, const std::string& url) {
  auto partial = PartialFile::open(store_.files(), store_.paths(), request_.id, options_.pace);
  if (!partial) return store_fail(partial.error());
  const std::string shown = public_url(url);
  DownloadOptions options = options_.download;
  options.expected_size = request_.size_bytes;
  PhasePace downloading(options_), verifying(options_);
  std::optional<uint64_t> last_total = request_.size_bytes;
  const auto on_progress = [&](uint64_t bytes, std::optional<uint64_t> total) {
    last_total = total ? total : request_.size_bytes;
    lock_->show({.phase = "download", .bytes = bytes, .total = last_total, .source_url = shown});
    if (downloading.is_due(bytes, bytes == last_total)) tell_download(bytes, last_total, shown);
  };
  const auto on_hashing = [&](uint64_t bytes, uint64_t total) {
    lock_->show({.phase = "verify", .bytes = bytes, .total = total, .source_url = {}});
    if (verifying.is_due(bytes, bytes == total)) tell_verify(store_.paths().partial(request_.id), bytes, total);
  };
  tell_download(partial->ranges().total(), last_total, shown);
  Download download(transfers, *partial, store_.paths().partial_folder(request_.id), options,
                    {.cancelled = hooks_.cancelled, .progress = on_progress, .hashing = on_hashing});
  auto whole = download.run(url);
  contradicted_ = contradicted_ || download.contradicted();
  if (!whole) return std::unexpected(whole.error());
  // Right bytes keep their records until add_blob removes them with the folder: who is killed before that does not begin at zero.
  if (whole->sha256 != request_.id.hex()) {
    if (auto forgotten = partial->forget_records(); !forgotten) return store_fail(forgotten.error());
  }
  return Outcome{std::move(*whole), download.mixed()};
}

Fetching<bool> Fetch::move_to_quarantine(const std::filesystem::path& file, const std::string& digest) {
  auto moved = store_.quarantine(file, "sha-mismatch");
  if (!moved) return store_fail(moved.error());
  if (auto gone = store_.files().remove_empty_folder(file.parent_path()); !gone) return store_fail(gone.error());
  log::warn("store", "{} has the SHA-256 {}, expected {}: moved to {}", file.string(), digest, request_.id.hex(), moved->string());
  tell("quarantine", {{"actual_sha256", digest},
                      {"expected_sha256", request_.id.hex()},
                      {"path", file.string()},
                      {"quarantine_path", moved->string()}});
  return true;
}

Fetching<Fetched> Fetch::finish(uint64_t bytes, const std::string& url, Fetched::How how) {
  Manifest manifest;
  manifest.set_blob(request_.id);
  manifest.size_bytes = bytes;
  manifest.license = request_.license;
  manifest.source = source_of_url(url);
  manifest.produced_by = options_.produced_by;
  manifest.produced_at = utc_text(std::chrono::system_clock::now());
  if (auto named = store_.set_manifest(request_.name, std::move(manifest)); !named) return store_fail(named.error());
  return Fetched{.blob = blob(), .bytes = bytes, .how = how};
}

}  // namespace

Fetching<Fetched> fetch(ModelStore& store, const FetchRequest& request, const FetchOptions& options, const FetchHooks& hooks) {
  return Fetch(store, request, options, hooks).run();
}

}  // namespace inferd::store
