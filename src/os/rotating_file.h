// A file of lines that grows at its end, with older generations beside it: <path>.1 (the newest) to <path>.N. Only whole lines stay in
// it: what a full disk took of a line is cut off again. Nothing is thrown away but the oldest generation, and that only once a new file
// is there; as long as there can be none the file goes on, longer than it should be. Used by the activity log; one thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

class RotatingFile {
 public:
  struct Options {
    std::filesystem::path path;
    uint64_t rotate_at_bytes = 16u << 20;
    int generations = 3;                            // kept besides the file itself
    std::chrono::milliseconds look_interval{1000};  // how often append() asks whether the path still leads to the file
  };

  explicit RotatingFile(Options options) : options_(std::move(options)) {}

  /// Makes what is missing, the folder (0700) and the file (0600), and cuts off part of a line at its end. An error names the path.
  Status open();

  /// Appends `lines`, each with its LF. Returns how many bytes of them are in the file now: all, or the whole lines before the first that
  /// could not be written. A file that somebody moved or removed, or its folder, is made again.
  size_t append(std::string_view lines);

  /// Begins with the path: why lines cannot be written, else why the file is not rotated. Empty when all is well.
  const std::string& trouble() const { return write_trouble_.empty() ? rotate_trouble_ : write_trouble_; }

 private:
  using Clock = std::chrono::steady_clock;
  std::filesystem::path generation(int number) const;
  Status open_file();
  Status follow_path(Clock::time_point now);
  void rotate(Clock::time_point now);
  Status move_up();
  void move_down(int first);
  size_t write_lines(std::string_view lines);
  size_t put(std::string_view bytes, int& error);
  void cut_part_line();
  void cut_off(size_t bytes);
  uint64_t room() const { return limit_ > bytes_ ? limit_ - bytes_ : 0; }

  const Options options_;
  UniqueFd file_;
  uint64_t bytes_ = 0;        // in the file
  uint64_t limit_ = 0;        // rotated before a line that would push it beyond this
  bool broken_line_ = false;  // the file ends inside a line that could not be cut off
  std::string write_trouble_, rotate_trouble_;
  Clock::time_point look_again_at_{}, rotate_again_at_{};
};

}  // namespace inferd::os
