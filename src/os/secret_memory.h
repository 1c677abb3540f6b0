// Keys in memory: texts that are overwritten when nobody needs them any more, and a command line that does not show them. What this
// cannot reach: the environment of the process, copies that libraries made and freed. Those are covered by prepare_process() (system.h).
// Called by whoever reads, holds or gets a key; any thread, but hide_arguments() only before the first one.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace inferd::os {

/// Overwrites the whole buffer of `text` and empties it.
void wipe(std::string& text);

/// A key: it moves only, and its bytes are overwritten when its holder goes or gets another one.
class SecretText {
 public:
  SecretText() = default;
  /// Wipes `source`.
  explicit SecretText(std::string&& source);
  SecretText(SecretText&& other) noexcept : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}
  SecretText& operator=(SecretText&& other) noexcept;
  ~SecretText() { overwrite(); }

  std::string_view view() const { return {bytes_.get(), size_}; }
  bool empty() const { return size_ == 0; }

 private:
  void overwrite() noexcept;

  std::unique_ptr<char[]> bytes_;  // not a std::string: that one would leave a copy of a short text behind when it moves
  size_t size_ = 0;
};

/// The time taken depends on the lengths only.
bool equal_in_constant_time(std::string_view a, std::string_view b);

/// Overwrites the values of these options ("--api-key") in the memory that /proc/PID/cmdline shows, which every user may read. Both forms:
/// `--api-key VALUE` and `--api-key=VALUE`. After the command line was parsed.
void hide_arguments(int argc, char** argv, std::span<const std::string_view> options);

}  // namespace inferd::os
