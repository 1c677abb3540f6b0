// How far a download, a copy or a verification is: a bar with bytes, rate and time left on a terminal, JSON lines with --json. Used by
// pull, import and verify on the main thread, which the store calls back on. While it lives it takes the log's records too, so that a
// warning does not stand behind the bar. Owns the line on the terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "ctl/progress.h"

namespace inferd::ctl {

/// Bytes a second, over the last few seconds.
class TransferRate {
 public:
  using Clock = std::chrono::steady_clock;
  void add(Clock::time_point now, uint64_t bytes_so_far);
  /// Nothing until half a second has passed.
  std::optional<double> bytes_per_second() const;

 private:
  struct Sample {
    Clock::time_point when;
    uint64_t bytes;
  };
  std::deque<Sample> samples_;
};

struct StoreStep {
  std::string_view phase;  // download, copy, verify
  std::string_view name;   // of the model
  uint64_t bytes = 0;
  std::optional<uint64_t> total;
  std::optional<double> bytes_per_second;
};

/// "downloading m [######------------------] 25 %  10 MiB of 40 MiB, 5 MiB/s, 6 s left", at most `width` bytes.
std::string step_text(const StoreStep& step, size_t width);

/// "59 s", "2 min 5 s", "1 h 30 min".
std::string duration_text(uint64_t seconds);

class StoreProgress : private log::Sink {
 public:
  StoreProgress(bool json, std::string name);
  ~StoreProgress() override;
  StoreProgress(const StoreProgress&) = delete;
  StoreProgress& operator=(const StoreProgress&) = delete;

  /// Shows the step if it is the first or the last one of its phase, or some time has passed.
  void show(std::string_view phase, uint64_t bytes, std::optional<uint64_t> total);
  /// Before anything else is written.
  void clear() { line_.clear(); }

 private:
  void record(log::Level level, std::string_view component, std::string_view message) override;

  const bool json_;
  const std::string name_;
  ProgressLine line_;
  std::string phase_;
  uint64_t bytes_ = 0;
  TransferRate rate_;
  TransferRate::Clock::time_point shown_;
};

}  // namespace inferd::ctl
