#include "observe/activity_log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "base/json_text.h"
#include "base/utf8.h"
#include "os/system.h"

namespace inferd {
namespace {

constexpr size_t kMaxFieldBytes = 4096;
constexpr size_t kMaxMessageBytes = 3500;  // with what stands before it less than a pipe that polls as writable takes (PIPE_BUF)
constexpr size_t kMaxStderrLines = 10'000;
constexpr size_t kWakeAtBytes = 64 * 1024;                       // do not wait for the interval beyond this
constexpr size_t kKeptBytes = 1u << 20;                          // a larger buffer is given back once it is empty
constexpr auto kGatherInterval = std::chrono::milliseconds(20);  // lines of this time are written together
constexpr auto kRetryInterval = std::chrono::seconds(1);         // while the disk takes nothing

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

std::string redacted(const Redactor& redactor, std::string_view text) {
  std::string copy(text);
  if (redactor.matches(text)) redactor.redact(copy);
  return copy;
}

// Of somebody's choice and of any length. It is not cut: half of a secret would match no rule, and the redacted whole may be endless.
void append_foreign(std::string& out, const Redactor& redactor, std::string_view text) {
  if (text.size() > kMaxFieldBytes) return append_json_text(out, "[" + std::to_string(text.size()) + " bytes]");
  append_json_text(out, redacted(redactor, text));
}

// A message of ours, or of a library: cut behind the redaction.
std::string shortened(const Redactor& redactor, std::string_view text) {
  const std::string whole = redacted(redactor, text);
  return whole.size() <= kMaxMessageBytes ? whole : std::string(cut_utf8(whole, kMaxMessageBytes)) + "...";
}

struct Message {
  std::string_view text;
  bool own_word;  // of an event; a record's may hold anything
};

// Keys come out in alphabetical order: `fields` is sorted, and the four of every record are merged in.
void append_record(std::string& out, const Redactor& redactor, std::chrono::system_clock::time_point time, log::Level level,
                   std::string_view component, Message message, std::initializer_list<ActivityLog::Field> fields) {
  out += '{';
  auto field = fields.begin();
  const auto fields_before = [&](std::string_view key) {
    for (; field != fields.end() && field->key < key; ++field) {
      if (std::holds_alternative<std::monostate>(field->value)) continue;
      append_key(out, field->key);
      if (const auto* word = std::get_if<std::string_view>(&field->value)) {
        append_plain(out, *word);
      } else if (const auto* number = std::get_if<int64_t>(&field->value)) {
        append_json_number(out, *number);
      } else {
        append_foreign(out, redactor, std::get<ActivityLog::Foreign>(field->value).text);
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
    append_json_text(out, shortened(redactor, message.text));
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

ActivityLog::ActivityLog(Options options)
    : options_(std::move(options)),
      file_(os::RotatingFile::Options{.path = options_.directory / "inferd.ndjson",
                                      .rotate_at_bytes = options_.rotate_at_bytes,
                                      .generations = options_.generations}) {}

Result<std::unique_ptr<ActivityLog>> ActivityLog::open(Options options) {
  std::unique_ptr<ActivityLog> log(new ActivityLog(std::move(options)));
  if (auto opened = log->file_.open(); !opened) return fail(opened.error().code, "activity log " + opened.error().message);
  const os::TerminationSignalsBlocked blocked;
  log->thread_ = std::thread([raw = log.get()] { raw->run(); });
  return log;
}

void ActivityLog::finish() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ActivityLog::record(log::Level level, std::string_view component, std::string_view message) {
  const auto now = Clock::now();
  // A path may be anything; the texts of events come from frames that were checked.
  const std::string valid = to_valid_utf8(message);
  std::lock_guard lock(mutex_);
  if (has_room(now)) append_record(pending_, redactor_, now, level, component, {valid, false}, {});
  if (options_.to_stderr && stderr_pending_.size() < kMaxStderrLines) {
    stderr_pending_.push_back({now, level, std::string(component), valid});
  }
  if (waits_ == Waits::kForAnything || (waits_ == Waits::kForStandardError && options_.to_stderr)) wake_.notify_one();
}

void ActivityLog::event(log::Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (!log::enabled(level, "activity")) return;
  const auto now = Clock::now();
  std::lock_guard lock(mutex_);
  if (!has_room(now)) return;
  append_record(pending_, redactor_, now, level, "activity", {message, true}, fields);
  if (waits_ == Waits::kForAnything) wake_.notify_one();
}

// Under mutex_. False: the disk is full, or slower than we are, and this line is lost.
bool ActivityLog::has_room(Clock::time_point now) {
  if (pending_.size() + unwritten_bytes_ <= options_.max_held_bytes) return true;
  if (lost_.lines++ == 0) lost_.first = now;
  lost_.last = now;
  return false;
}

void ActivityLog::run() {
  std::vector<Line> console;
  uint64_t left = 0;
  std::unique_lock lock(mutex_);
  for (bool last = false; !last;) {
    wait_for_work(lock);
    if (unwritten_.empty()) take_pending();
    console.swap(stderr_pending_);
    const bool stopping = stopping_;
    lock.unlock();
    write_unwritten(stopping);
    to_stderr(console);
    console.clear();
    lock.lock();
    unwritten_bytes_ = unwritten_.size();
    const bool done = unwritten_.empty() && pending_.empty() && lost_.lines == 0;
    last = stopping && (done || !unwritten_.empty());
  }
  for (const std::string* lines : {&unwritten_, &pending_}) left += static_cast<uint64_t>(std::ranges::count(*lines, '\n'));
  left += lost_.lines;
  lock.unlock();
  if (left > 0) say(log::Level::kError, "activity log: the last " + std::to_string(left) + " lines are lost");
}

// While the disk takes nothing it is tried again after a pause, whatever comes meanwhile.
void ActivityLog::wait_for_work(std::unique_lock<std::mutex>& lock) {
  if (!unwritten_.empty()) {
    waits_ = Waits::kForStandardError;
    wake_.wait_until(lock, retry_at_, [&] { return stopping_ || !stderr_pending_.empty(); });
    waits_ = Waits::kNot;
    return;
  }
  waits_ = Waits::kForAnything;
  wake_.wait(lock, [&] { return stopping_ || !pending_.empty() || !stderr_pending_.empty() || lost_.lines > 0; });
  waits_ = Waits::kNot;  // producers need not notify while lines are gathered
  if (!stopping_ && pending_.size() < kWakeAtBytes && stderr_pending_.empty()) {
    wake_.wait_for(lock, kGatherInterval, [&] { return stopping_; });
  }
}

// Under mutex_. The lines before a gap have their place before what announces it.
void ActivityLog::take_pending() {
  if (lost_.lines > 0) {
    std::string first, last;
    append_time(first, lost_.first);
    append_time(last, lost_.last);
    append_record(pending_, redactor_, Clock::now(), log::Level::kWarn, "log", {"lines_lost", true},
                  {{"count", static_cast<int64_t>(lost_.lines)}, {"first_lost", first}, {"last_lost", last}});
    lost_ = {};
  }
  unwritten_.swap(pending_);
  unwritten_bytes_ = unwritten_.size();
}

void ActivityLog::write_unwritten(bool last) {
  if (unwritten_.empty() || (!last && std::chrono::steady_clock::now() < retry_at_)) return;
  unwritten_.erase(0, file_.append(unwritten_));
  if (!unwritten_.empty()) {
    retry_at_ = std::chrono::steady_clock::now() + kRetryInterval;
  } else if (unwritten_.capacity() > kKeptBytes) {
    std::string().swap(unwritten_);
  }
  tell_trouble(last);
}

void ActivityLog::tell_trouble(bool last) {
  if (file_.trouble() == told_trouble_) return;
  told_trouble_ = file_.trouble();
  const std::string trouble = "activity log " + told_trouble_;
  if (told_trouble_.empty()) {
    say(log::Level::kWarn, "activity log: it is written again");
  } else {
    say(log::Level::kError, trouble);
  }
  if (!options_.on_trouble || last) return;
  options_.on_trouble(told_trouble_.empty() ? std::nullopt : std::optional(trouble));
}

// About the file itself, so on standard error alone.
void ActivityLog::say(log::Level level, const std::string& message) {
  if (options_.to_stderr && log::enabled(level, "log")) to_stderr({Line{Clock::now(), level, "log", message}});
}

void ActivityLog::to_stderr(const std::vector<Line>& lines) {
  if (lines.empty()) return;
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
    if (!os::is_writable(::fileno(stderr))) return;  // a stopped terminal, a full pipe: the file has it
    const std::string text = shortened(redactor_, line.component + ": " + line.message);
    logger->log(std::chrono::time_point_cast<spdlog::log_clock::duration>(line.time), spdlog::source_loc{},
                kLevels[static_cast<size_t>(line.level)], text);
  }
  logger->flush();
}

}  // namespace inferd
