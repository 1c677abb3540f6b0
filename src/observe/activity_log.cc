#include "observe/activity_log.h"

#include <fcntl.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <algorithm>
#include <cstdlib>
#include <ctime>

#include "base/json_text.h"
#include "base/utf8.h"
#include "os/os_error.h"
#include "os/paths.h"
#include "os/system.h"

namespace inferd {
namespace {

constexpr size_t kMaxPendingBytes = 8u << 20;
constexpr size_t kMaxFieldBytes = 4096;
constexpr size_t kMaxStderrLines = 10'000;
constexpr size_t kWakeAtBytes = 64 * 1024;                         // do not wait for the interval beyond this
constexpr auto kGatherInterval = std::chrono::milliseconds(20);  // lines of this time are written together

// RFC 3339 in UTC with 0, 3 or 6 fractional digits as needed. The seconds' text is kept: it changes once a second.
void append_time(std::string& out, std::chrono::system_clock::time_point time) {
  thread_local std::time_t last = -1;
  thread_local char text[32];
  thread_local size_t length = 0;
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = micros / 1'000'000;
  if (seconds != last) {
    std::tm utc{};
    ::gmtime_r(&seconds, &utc);
    length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    last = seconds;
  }
  out.append(text, length);
  int fraction = static_cast<int>(micros % 1'000'000), digits = 6;
  if (fraction == 0) {
    digits = 0;
  } else if (fraction % 1000 == 0) {
    fraction /= 1000;
    digits = 3;
  }
  if (digits > 0) {
    char buffer[7] = {'.', '0', '0', '0', '0', '0', '0'};
    for (int i = digits; i > 0; --i, fraction /= 10) buffer[i] = static_cast<char>('0' + fraction % 10);
    out.append(buffer, static_cast<size_t>(digits) + 1);
  }
  out += "+00:00";
}

void append_key(std::string& out, std::string_view key) {
  if (out.back() != '{') out += ',';
  out += '"';
  out += key;
  out += "\":";
}

void append_plain(std::string& out, std::string_view word) {
  out += '"';
  out += word;
  out += '"';
}

void append_redacted(std::string& out, const Redactor& redactor, std::string_view text) {
  // A client may choose an id of any length. It is not cut: half of a secret would match no rule.
  if (text.size() > kMaxFieldBytes) return append_json_text(out, "[" + std::to_string(text.size()) + " bytes]");
  if (!redactor.matches(text)) return append_json_text(out, text);
  std::string copy(text);
  redactor.redact(copy);
  append_json_text(out, copy);
}

struct Message {
  std::string_view text;
  bool own_word;  // of an event; a record's may hold anything
};

// Keys come out in alphabetical order: `fields` is sorted, and the four of every record are merged in.
void append_record(std::string& out, const Redactor& redactor, std::chrono::system_clock::time_point time, log::Level level, std::string_view component,
                   Message message, std::initializer_list<ActivityLog::Field> fields) {
  out += '{';
  auto field = fields.begin();
  const auto fields_before = [&](std::string_view key) {
    for (; field != fields.end() && field->key < key; ++field) {
      append_key(out, field->key);
      if (const auto* word = std::get_if<std::string_view>(&field->value)) {
        append_plain(out, *word);
      } else if (const auto* number = std::get_if<int64_t>(&field->value)) {
        append_json_number(out, *number);
      } else {
        append_redacted(out, redactor, std::get<ActivityLog::Foreign>(field->value).text);
      }
    }
  };
  fields_before("component");
  append_key(out, "component");
  append_plain(out, component);
  fields_before("level");
  append_key(out, "level");
  append_plain(out, log::level_name(level));
  fields_before("msg");
  append_key(out, "msg");
  if (message.own_word) {
    append_plain(out, message.text);
  } else {
    append_redacted(out, redactor, message.text);
  }
  fields_before("t");
  append_key(out, "t");
  out += '"';
  append_time(out, time);
  out += '"';
  fields_before("\x7f");
  out += "}\n";
}

}  // namespace

ActivityLog::ActivityLog(Options options) : options_(std::move(options)) {}

Result<std::unique_ptr<ActivityLog>> ActivityLog::open(Options options) {
  if (auto made = os::make_private_directories(options.directory); !made) return std::unexpected(made.error());
  std::unique_ptr<ActivityLog> log(new ActivityLog(std::move(options)));
  if (auto opened = log->open_file(); !opened) return std::unexpected(opened.error());
  const os::TerminationSignalsBlocked blocked;
  log->thread_ = std::thread([raw = log.get()] { raw->run(); });
  return log;
}

ActivityLog::~ActivityLog() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ActivityLog::record(log::Level level, std::string_view component, std::string_view message) {
  const auto now = Clock::now();
  std::lock_guard lock(mutex_);
  if (pending_.size() > kMaxPendingBytes || stderr_pending_.size() >= kMaxStderrLines) {
    ++dropped_;
    return;
  }
  // A path may be anything; the texts of events come from frames that were checked.
  const std::string valid = to_valid_utf8(message);
  append_record(pending_, redactor_, now, level, component, {valid, false}, {});
  if (options_.to_stderr) stderr_pending_.push_back({now, level, std::string(component), valid});
  if (waiting_) wake_.notify_one();
}

void ActivityLog::event(log::Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (!log::enabled(level, "activity")) return;
  const auto now = Clock::now();
  std::lock_guard lock(mutex_);
  if (pending_.size() > kMaxPendingBytes) {
    ++dropped_;
    return;
  }
  append_record(pending_, redactor_, now, level, "activity", {message, true}, fields);
  if (waiting_) wake_.notify_one();
}

Status ActivityLog::open_file() {
  const auto path = options_.directory / "inferd.ndjson";
  file_ = os::UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file_) return os::os_fail(errno, "activity log " + path.string());
  struct stat info{};
  if (::fstat(file_.get(), &info) != 0) return os::os_fail(errno, "activity log " + path.string());
  if (!S_ISREG(info.st_mode)) return fail(Code::kUsage, "activity log " + path.string() + " is not a regular file");
  file_bytes_ = static_cast<uint64_t>(info.st_size);
  return {};
}

void ActivityLog::run() {
  std::string lines;
  std::vector<Line> console;
  std::unique_lock lock(mutex_);
  for (;;) {
    waiting_ = true;
    wake_.wait(lock, [&] { return stopping_ || !pending_.empty(); });
    waiting_ = false;  // producers need not notify while lines are gathered
    if (!stopping_ && pending_.size() < kWakeAtBytes && stderr_pending_.empty()) {
      wake_.wait_for(lock, kGatherInterval, [&] { return stopping_; });
    }
    if (dropped_ > 0) {
      append_record(pending_, redactor_, Clock::now(), log::Level::kWarn, "log", {"lines_dropped", true}, {{"count", static_cast<int64_t>(dropped_)}});
      dropped_ = 0;
    }
    lines.swap(pending_);
    console.swap(stderr_pending_);
    const bool last = stopping_;
    lock.unlock();
    write_lines(lines);
    if (!console.empty()) to_stderr(console);
    lines.clear();
    console.clear();
    if (lines.capacity() > 1u << 20) std::string().swap(lines);
    lock.lock();
    if (last && pending_.empty()) return;
  }
}

// Rotates before the line that would push the file beyond its limit.
void ActivityLog::write_lines(std::string_view lines) {
  while (!lines.empty()) {
    const uint64_t room = options_.rotate_at_bytes - std::min(options_.rotate_at_bytes, file_bytes_);
    size_t fits = lines.size();
    if (fits > room) {
      const size_t last = lines.rfind('\n', room == 0 ? 0 : room - 1);
      fits = last == std::string_view::npos || room == 0 ? 0 : last + 1;
    }
    if (fits == 0 && file_bytes_ > 0) {
      rotate();
      continue;
    }
    if (fits == 0) fits = lines.find('\n') + 1;  // a line longer than the limit has a file of its own
    write_out(lines.substr(0, fits));
    lines.remove_prefix(fits);
  }
}

void ActivityLog::write_out(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      lost_ += static_cast<uint64_t>(std::count(bytes.begin(), bytes.end(), '\n'));
      if (!failing_ && options_.to_stderr) {
        to_stderr({{Clock::now(), log::Level::kError, "log",
                    os::os_error(errno, "activity log in " + options_.directory.string() + ": lines are lost").message}});
      }
      failing_ = true;
      return;
    }
    file_bytes_ += static_cast<uint64_t>(n);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  if (failing_ && lost_ > 0) {
    failing_ = false;
    std::string note;
    append_record(note, redactor_, Clock::now(), log::Level::kWarn, "log", {"lines_lost", true}, {{"count", static_cast<int64_t>(lost_)}});
    lost_ = 0;
    write_out(note);
  }
}

void ActivityLog::rotate() {
  const auto live = options_.directory / "inferd.ndjson";
  const auto generation = [&](int i) { return live.string() + "." + std::to_string(i); };
  std::error_code ignored;
  std::filesystem::remove(generation(options_.generations), ignored);
  for (int i = options_.generations; i > 1; --i) std::filesystem::rename(generation(i - 1), generation(i), ignored);
  std::error_code failed;
  std::filesystem::rename(live, generation(1), failed);
  if (failed) {  // go on in the same file rather than lose a line
    file_bytes_ = 0;
    if (options_.to_stderr) {
      to_stderr({{Clock::now(), log::Level::kWarn, "log", "rename " + live.string() + ": " + failed.message() + "; not rotated"}});
    }
    return;
  }
  os::UniqueFd old = std::move(file_);
  if (auto opened = open_file(); !opened) {
    file_ = std::move(old);
    file_bytes_ = 0;
    if (options_.to_stderr) to_stderr({{Clock::now(), log::Level::kWarn, "log", opened.error().message}});
  }
}

void ActivityLog::to_stderr(const std::vector<Line>& lines) {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    const char* no_color = std::getenv("NO_COLOR");
    const auto mode = no_color != nullptr && *no_color != '\0' ? spdlog::color_mode::never : spdlog::color_mode::automatic;
    auto made = std::make_shared<spdlog::logger>("stderr", std::make_shared<spdlog::sinks::stderr_color_sink_st>(mode));
    made->set_level(spdlog::level::trace);  // the filter was applied before
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%5l%$ %v");
    return made;
  }();
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::off,  spdlog::level::err,   spdlog::level::warn,
                                                          spdlog::level::info, spdlog::level::debug, spdlog::level::trace};
  for (const Line& line : lines) {
    if (!os::is_writable(STDERR_FILENO)) return;  // a stopped terminal, a full pipe: the file has it
    std::string text = line.component + ": " + line.message;
    redactor_.redact(text);
    logger->log(std::chrono::time_point_cast<spdlog::log_clock::duration>(line.time), spdlog::source_loc{},
                kLevels[static_cast<size_t>(line.level)], text);
  }
  logger->flush();
}

}  // namespace inferd
