// The activity log: every record of the process log and every activity event as one JSON object a line in
// <log dir>/inferd.ndjson (spec 06 §7), and the process log as text on standard error. Both redacted.
// record() and event() may be called from any thread: they redact each foreign text, format the line and append it to a bounded buffer; one
// thread of its own rotates and writes, so that a slow disk or a full terminal never slows a token. Activity events go to the file
// only. Redacting texts one by one is the same as redacting the line: no rule reaches over the end of a JSON string, and the keys,
// which are ours, match none.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "base/log.h"
#include "observe/redact.h"
#include "os/unique_fd.h"

namespace inferd {

class ActivityLog final : public log::Sink {
 public:
  struct Options {
    std::filesystem::path directory;
    uint64_t rotate_at_bytes = 16u << 20;
    int generations = 3;  // rotated files kept besides the live one
    bool to_stderr = true;
  };
  /// A text that somebody else chose: it is escaped and redacted. Other texts of an event are our own words and are written as they are.
  struct Foreign {
    std::string_view text;
  };
  struct Field {
    std::string_view key;  // not one of t, level, component, msg
    std::variant<std::string_view, int64_t, Foreign> value;
  };

  /// Makes the folder (0700) and opens the file (0600); an error names the path.
  static Result<std::unique_ptr<ActivityLog>> open(Options options);
  ~ActivityLog() override;  // writes what is buffered

  void record(log::Level level, std::string_view component, std::string_view message) override;

  /// One activity event; `message` is our own word; `fields` sorted by key; of a foreign text over 4 KiB only the length is written.
  void event(log::Level level, std::string_view message, std::initializer_list<Field> fields);

 private:
  using Clock = std::chrono::system_clock;
  struct Line {
    Clock::time_point time;
    log::Level level;
    std::string component, message;
  };
  explicit ActivityLog(Options options);
  Status open_file();
  void run();
  void write_lines(std::string_view lines);
  void write_out(std::string_view bytes);
  void rotate();
  void to_stderr(const std::vector<Line>& lines);

  const Options options_;
  Redactor redactor_;
  // the writing thread's own:
  os::UniqueFd file_;
  uint64_t file_bytes_ = 0;
  bool failing_ = false;
  uint64_t lost_ = 0;  // lines that could not be written

  std::mutex mutex_;
  // guarded by mutex_:
  std::string pending_;              // NDJSON lines for the file
  std::vector<Line> stderr_pending_;  // records for standard error
  uint64_t dropped_ = 0;             // lines that found the buffer full
  bool stopping_ = false;
  bool waiting_ = false;  // the thread sleeps until there is something
  std::condition_variable wake_;

  std::thread thread_;
};

}  // namespace inferd
