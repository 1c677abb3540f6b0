// A blocking socket that carries lines: what every client connection is made of. One thread; shut_down() any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::client {

class LineSocket {
 public:
  explicit LineSocket(os::UniqueFd fd) : fd_(std::move(fd)) {}

  Status write(std::string_view bytes);
  /// The next line without its LF; the last one may come without one. kNotFound at the end of the stream, kInUse at the timeout,
  /// kFrameTooLarge if no server may send such a line.
  Result<std::string> read_line(std::optional<std::chrono::milliseconds> timeout = {});
  void shut_down() noexcept;

 private:
  os::UniqueFd fd_;
  std::string buffer_;
  size_t scanned_ = 0;
};

}  // namespace inferd::client
