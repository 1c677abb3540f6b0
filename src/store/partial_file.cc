#include "store/partial_file.h"

#include <charconv>

#include "os/file_reader.h"
#include "os/system.h"
#include "store/digest.h"

namespace inferd::store {
namespace {

constexpr size_t kMaxRecordBytes = 1u << 20;
constexpr std::string_view kFirstLine = "inferd-partial 1\n", kNone = "-", kAnyBoot = "-", kYes = "yes";

// Takes "<key> <value>\n" off the front of the text.
std::optional<std::string_view> take_line(std::string_view& text, std::string_view key) {
  const size_t end = text.find('\n');
  if (end == std::string_view::npos || !text.starts_with(key) || text.substr(key.size(), 1) != " ") return std::nullopt;
  const std::string_view value = text.substr(key.size() + 1, end - key.size() - 1);
  text.remove_prefix(end + 1);
  return value;
}

std::optional<uint64_t> take_number(std::string_view& text) {
  uint64_t number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ec != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(read.ptr - text.data()));
  return number;
}

bool take_char(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<ByteRanges> read_ranges(std::string_view text) {
  ByteRanges ranges;
  while (!text.empty()) {
    const auto begin = take_number(text);
    if (!begin || !take_char(text, '-')) return std::nullopt;
    const auto end = take_number(text);
    if (!end || *end <= *begin) return std::nullopt;
    ranges.add({*begin, *end});
    if (!text.empty() && !take_char(text, ' ')) return std::nullopt;
  }
  return ranges;
}

std::string or_none(const std::string& text) { return text.empty() ? std::string(kNone) : text; }
std::string from_none(std::string_view text) { return text == kNone ? std::string() : std::string(text); }

}  // namespace

Result<PartialFile> PartialFile::open(os::FileSystem& files, const StorePaths& paths, const BlobId& id, Pace pace) {
  const auto folder = paths.partial_folder(id);
  if (auto made = os::make_durable_folders(files, paths.root(), folder.lexically_relative(paths.root())); !made) {
    return std::unexpected(made.error());
  }
  auto file = files.open(paths.partial(id), os::FileSystem::Open::kAsItIs);
  if (!file) return std::unexpected(file.error());
  PartialFile partial(files, paths.partial(id), std::move(*file), pace);
  if (auto read = partial.read_records(); !read) return std::unexpected(read.error());
  return Result<PartialFile>(std::move(partial));
}

std::filesystem::path PartialFile::beside(std::string_view suffix) const {
  auto path = path_;
  return path += suffix;
}

Status PartialFile::read_records() {
  const std::string boot = os::boot_id();
  const std::string recent = os::read_file(beside(".recent"), kMaxRecordBytes).value_or(std::string());
  const bool taken = (!boot.empty() && take_record(recent, boot)) ||
                     take_record(os::read_file(beside(".ranges"), kMaxRecordBytes).value_or(std::string()), kAnyBoot);
  if (!taken) return restart();
  const auto there = size();
  if (!there) return std::unexpected(there.error());
  ranges_.cut(*there);  // whoever made it shorter took these bytes
  return *there > ranges_.end() ? file_->resize(ranges_.end()) : Status();
}

Result<uint64_t> PartialFile::size() const {
  const auto state = os::identity_of(fd());
  if (!state) return fail(state.error().code, path_.string() + ": " + state.error().message);
  return state->size;
}

bool PartialFile::take_record(std::string_view text, std::string_view boot) {
  const std::string_view all = text;
  if (!text.starts_with(kFirstLine)) return false;
  text.remove_prefix(kFirstLine.size());
  const auto of_boot = take_line(text, "boot"), url = take_line(text, "url"), mixed = take_line(text, "mixed");
  const auto validator = take_line(text, "validator");
  const auto total = take_line(text, "total"), ranges = take_line(text, "ranges");
  const std::string_view checked = all.substr(0, all.size() - text.size());
  const auto check = take_line(text, "check");
  if (!of_boot || !url || !mixed || !validator || !total || !ranges || !check || *of_boot != boot) return false;
  if (const auto digest = sha256_of_text(checked); !digest || *digest != *check) return false;
  auto list = read_ranges(*ranges);
  if (!list) return false;
  ranges_ = std::move(*list);
  std::string_view number = *total;
  origin_ = {.url = std::string(*url), .validator = from_none(*validator), .total = take_number(number), .mixed = *mixed == kYes};
  return true;
}

std::string PartialFile::record(std::string_view boot) const {
  std::string text(kFirstLine);
  text += "boot " + std::string(boot) + "\nurl " + origin_.url + "\nmixed " + std::string(origin_.mixed ? kYes : kNone) + "\nvalidator " +
          or_none(origin_.validator) + "\ntotal " + (origin_.total ? std::to_string(*origin_.total) : std::string(kNone)) + "\nranges ";
  const char* space = "";
  for (const auto& [begin, end] : ranges_.ends_by_begin()) {
    text += space + std::to_string(begin) + "-" + std::to_string(end);
    space = " ";
  }
  text += '\n';
  return text + "check " + sha256_of_text(text).value_or(std::string()) + "\n";
}

Status PartialFile::write(uint64_t offset, std::string_view bytes) {
  if (auto written = file_->write_at(offset, bytes); !written) return written;
  ranges_.add({offset, offset + bytes.size()});
  since_recent_ += bytes.size();
  since_durable_ += bytes.size();
  if (since_durable_ >= pace_.durable) {
    if (auto synced = file_->sync(); !synced) return synced;
    if (auto replaced = os::replace_file(*files_, beside(".ranges"), record(kAnyBoot)); !replaced) return replaced;
    since_durable_ = 0;
  }
  return since_recent_ >= pace_.recent ? record_recent() : Status();
}

Status PartialFile::record_recent() {
  // Replaced by a rename, though nothing is synced: a process that is killed within a write must not leave half a record.
  const auto next = beside(".recent.tmp");
  auto file = files_->open(next, os::FileSystem::Open::kEmpty);
  if (!file) return std::unexpected(file.error());
  if (auto noted = (*file)->write_at(0, record(or_none(os::boot_id()))); !noted) return noted;
  since_recent_ = 0;
  return files_->rename(next, beside(".recent"));
}

Status PartialFile::restart() {
  if (auto forgotten = forget_records(); !forgotten) return forgotten;
  ranges_.clear();
  origin_ = {};
  since_recent_ = since_durable_ = 0;
  return file_->resize(0);
}

Status PartialFile::sync(uint64_t bytes) {
  const auto there = size();
  if (!there) return std::unexpected(there.error());
  if (*there < bytes) return fail(Code::kIntegrity, path_.string() + " became shorter while it was downloaded");
  if (*there > bytes) {
    if (auto cut = file_->resize(bytes); !cut) return cut;
  }
  return file_->sync();
}

Status PartialFile::forget_records() {
  for (const char* suffix : {".recent", ".recent.tmp", ".ranges", ".ranges.tmp"}) {
    if (auto removed = files_->remove(beside(suffix)); !removed) return removed;
  }
  return files_->sync_folder(path_.parent_path());
}

}  // namespace inferd::store
