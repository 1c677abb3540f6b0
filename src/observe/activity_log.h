// The activity log: every record of the process log and every activity event as one JSON object a line in
// <log dir>/inferd.ndjson (spec 06 §7), and the process log as text on standard error. Both redacted.
// record() and event() may be called from any thread: they redact each foreign text, format the line and append it to a bounded buffer;
// one thread of its own rotates and writes, so that a slow or full disk or terminal never slows a token. Lines wait for a full disk;
// what is too much for the buffer is lost, and a record `lines_lost` says how many and from when to when. Events go to the file only.
// Redacting texts one by one is the same as redacting the line: no rule reaches over the end of a JSON string, and our keys match none.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "base/log.h"
#include "observe/redact.h"
#include "os/rotating_file.h"

namespace inferd {

class ActivityLog final : public log::Sink {
 public:
  struct Options {
    std::filesystem::path directory;
    uint64_t rotate_at_bytes = 16u << 20;
    int generations = 3;               // rotated files kept besides the live one
    size_t max_held_bytes = 8u << 20;  // of lines that wait for the disk
    bool to_stderr = true;
    /// What is wrong with the files, in one line, and nothing once it is over. Called on the log's thread, until the destructor returns.
    std::function<void(std::optional<std::string> trouble)> on_trouble{};
  };
  /// A text that somebody else chose: it is escaped and redacted. Other texts of an event are our own words and are written as they are.
  struct Foreign {
    std::string_view text;
  };
  using Value = std::variant<std::monostate, std::string_view, int64_t, Foreign>;
  struct Field {
    std::string_view key;  // not one of t, level, component, msg
    Value value;           // std::monostate: the field is left out
  };

  /// Makes the folder (0700) and opens the file (0600); an error names the path.
  static Result<std::unique_ptr<ActivityLog>> open(Options options);
  ~ActivityLog() override { finish(); }
  /// Writes what is buffered, if the disk takes it, and ends the thread. What comes later goes nowhere; for the end of the program.
  void finish();

  void record(log::Level level, std::string_view component, std::string_view message) override;

  /// One activity event; `message` is our own word; `fields` sorted by key; of a foreign text over 4 KiB only the length is written.
  void event(log::Level level, std::string_view message, std::initializer_list<Field> fields);

 private:
  using Clock = std::chrono::system_clock;
  enum class Waits { kNot, kForAnything, kForStandardError };
  struct Line {
    Clock::time_point time;
    log::Level level;
    std::string component, message;
  };
  struct Lost {
    uint64_t lines = 0;
    Clock::time_point first{}, last{};
  };
  explicit ActivityLog(Options options);
  bool has_room(Clock::time_point now);
  void run();
  void wait_for_work(std::unique_lock<std::mutex>& lock);
  void take_pending();
  void write_unwritten(bool last);
  void tell_trouble(bool last);
  void say(log::Level level, const std::string& message);
  void to_stderr(const std::vector<Line>& lines);

  const Options options_;
  Redactor redactor_;
  // the writing thread's own:
  os::RotatingFile file_;
  std::string unwritten_;     // lines whose turn it is
  std::string told_trouble_;  // what was told last
  std::chrono::steady_clock::time_point retry_at_{};

  std::mutex mutex_;
  // guarded by mutex_:
  std::string pending_;               // NDJSON lines for the file
  size_t unwritten_bytes_ = 0;        // of unwritten_
  Lost lost_;                         // lines that found no room, since that was last announced
  std::vector<Line> stderr_pending_;  // records for standard error
  bool stopping_ = false;
  Waits waits_ = Waits::kNot;  // what the thread sleeps for
  std::condition_variable wake_;

  std::thread thread_;
};

}  // namespace inferd
