// The process log: levels, the INFERD_LOG filter, and the one sink that records go to.
// Everybody logs through it, on any thread; a record is formatted by the caller and handed over to the sink, which never blocks.
// Never log a prompt, an answer, an attachment or a key.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace inferd::log {

enum class Level : int { kOff = 0, kError, kWarn, kInfo, kDebug, kTrace };

std::string_view level_name(Level level);

/// The directives of INFERD_LOG (spec 06 §8): a level name or 0..5, and component=level pairs, separated by commas.
/// A component may be written with the program's name before it ("inferd_daemon::activity").
class Filter {
 public:
  /// `text` null = not set. Not set or not understood: info. Set but empty: errors only.
  static Filter parse(const char* text);
  /// True if every directive is understood; parse() skips those that are not. Blank is valid.
  static bool is_valid(std::string_view text);
  bool enabled(Level level, std::string_view component) const;
  Level most_verbose() const { return most_verbose_; }

 private:
  struct Directive {
    std::string component;
    Level level;
  };
  Level default_ = Level::kInfo;
  Level most_verbose_ = Level::kInfo;
  std::vector<Directive> directives_;
};

/// Where records go. `record` may be called from any thread and returns without waiting for a disk or terminal.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void record(Level level, std::string_view component, std::string_view message) = 0;
};

/// Installs filter and sink (null: standard error at once). Before the first thread or after the last one.
void install(Filter filter, Sink* sink);
/// Another filter from now on. Any thread.
void set_filter(Filter filter);
bool enabled(Level level, std::string_view component);
void write(Level level, std::string_view component, std::string_view message);

template <class... Args>
void error(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kError, component)) write(Level::kError, component, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warn(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kWarn, component)) write(Level::kWarn, component, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo, component)) write(Level::kInfo, component, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void debug(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug, component)) write(Level::kDebug, component, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace inferd::log
