#include "store/producer_lock.h"

#include <algorithm>
#include <charconv>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "os/system.h"

namespace inferd::store {
namespace {

constexpr std::string_view kKind = "inferd-progress", kVersion = "2", kNone = "-", kBegin = "begin";

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  line = line.substr(0, line.find('\n'));
  while (!line.empty()) {
    const size_t length = std::min(line.find(' '), line.size());
    words.push_back(line.substr(0, length));
    line.remove_prefix(std::min(length + 1, line.size()));
  }
  return words;
}

bool read_number(std::string_view text, uint64_t& out) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), out);
  return read.ec == std::errc() && read.ptr == text.data() + text.size();
}

std::string begin_note() {
  const ProducerProgress progress{.phase = std::string(kBegin), .bytes = 0, .total = {}, .source_url = {}};
  return note_text({.process = os::process_id(), .beat = 0, .progress = progress});
}

// Whoever holds the lock that is waited for.
class Holder {
 public:
  Holder(std::filesystem::path lock_file, std::filesystem::path progress_file, const ProducerLock::Wait& wait)
      : lock_file_(std::move(lock_file)), progress_file_(std::move(progress_file)), wait_(wait) {}

  /// Tells what he shows. kInUse if that has not changed for too long.
  Status look() {
    const std::string held = os::FileLock::note(lock_file_), progress = os::FileLock::note(progress_file_);
    const auto now = std::chrono::steady_clock::now();
    if (held != held_ || progress != progress_) {
      held_ = held;
      progress_ = progress;
      changed_ = now;
      warned_ = false;
    }
    if (const auto note = read_note(progress); note && note->progress.phase != kBegin && note->progress != told_) {
      wait_.on_progress(*(told_ = note->progress));
    }
    const auto holder = read_note(held);
    const std::string who = (holder ? "process " + std::to_string(holder->process) : "another program") + " holds " + lock_file_.string();
    const auto silent = std::chrono::floor<std::chrono::seconds>(now - changed_).count();
    if (holder && now - changed_ >= wait_.give_up_after) {
      return fail(Code::kInUse, who + " and has shown no sign of life for " + std::to_string(silent) + " s: let it go on, or end it");
    }
    if (now - changed_ >= wait_.warn_after && !std::exchange(warned_, true)) {
      log::warn("store", "waiting: {} and has shown no progress for {} s", who, silent);
    }
    return {};
  }

 private:
  const std::filesystem::path lock_file_, progress_file_;
  const ProducerLock::Wait& wait_;
  std::string held_, progress_;
  std::chrono::steady_clock::time_point changed_ = std::chrono::steady_clock::now();
  bool warned_ = false;
  std::optional<ProducerProgress> told_;
};

Result<os::FileLock> wait_for(const std::filesystem::path& path, const std::filesystem::path& progress, const ProducerLock::Wait& wait) {
  Holder holder(path, progress, wait);
  for (;;) {
    auto lock = os::FileLock::try_exclusive(path);
    if (!lock) return std::unexpected(lock.error());
    if (*lock) {
      (*lock)->show(begin_note());  // not the last holder's
      return std::move(**lock);
    }
    if (wait.cancelled.load(std::memory_order_relaxed)) {
      return fail(Code::kBackendUnavailable, "waiting for the process that produces the model was stopped (" + path.string() + ")");
    }
    if (auto alive = holder.look(); !alive) return std::unexpected(alive.error());
    std::this_thread::sleep_for(wait.poll);
  }
}

}  // namespace

std::string note_text(const ProducerNote& note) {
  const ProducerProgress& progress = note.progress;
  std::string text(kKind);
  for (const std::string& word : {std::string(kVersion), std::to_string(note.process), std::to_string(note.beat), progress.phase,
                                  std::to_string(progress.bytes), progress.total ? std::to_string(*progress.total) : std::string(kNone),
                                  progress.source_url.empty() ? std::string(kNone) : progress.source_url}) {
    text += ' ' + word;
  }
  return text + '\n';
}

std::optional<ProducerNote> read_note(std::string_view text) {
  const auto words = words_of(text);
  ProducerNote note;
  if (words.size() != 8 || words[0] != kKind || words[1] != kVersion || !read_number(words[2], note.process) ||
      !read_number(words[3], note.beat) || !read_number(words[5], note.progress.bytes)) {
    return std::nullopt;
  }
  note.progress.phase = words[4];
  if (words[6] != kNone) {
    uint64_t total = 0;
    if (!read_number(words[6], total)) return std::nullopt;
    note.progress.total = total;
  }
  if (words[7] != kNone) note.progress.source_url = words[7];
  return note;
}

Result<ProducerLock> ProducerLock::acquire(const StorePaths& paths, const ModelName& name, const BlobId& id, const Wait& wait) {
  auto of_name = wait_for(paths.name_lock(name), paths.blob_lock(id), wait);
  if (!of_name) return std::unexpected(of_name.error());
  auto of_blob = wait_for(paths.blob_lock(id), paths.blob_lock(id), wait);
  if (!of_blob) return std::unexpected(of_blob.error());
  return ProducerLock(std::move(*of_name), std::move(*of_blob));
}

ProducerLock::~ProducerLock() {
  name_.show("");
  blob_.show("");
}

void ProducerLock::show(const ProducerProgress& progress) {
  const std::string text = note_text({.process = os::process_id(), .beat = ++beat_, .progress = progress});
  name_.show(text);
  blob_.show(text);
}

}  // namespace inferd::store
