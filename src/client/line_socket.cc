#include "client/line_socket.h"

#include <string>
#include <utility>

#include "os/blocking_io.h"
#include "request/limits.h"

namespace inferd::client {

Status LineSocket::write(std::string_view bytes) { return os::write_all(fd_.get(), bytes); }

Result<std::string> LineSocket::read_line(std::optional<std::chrono::milliseconds> timeout) {
  const auto deadline = timeout ? std::optional(std::chrono::steady_clock::now() + *timeout) : std::nullopt;
  for (;;) {
    const size_t end = buffer_.find('\n', scanned_);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      scanned_ = 0;
      return line;
    }
    scanned_ = buffer_.size();
    if (scanned_ > kMaxFrameBytes) return fail(Code::kFrameTooLarge, "a line of more than " + std::to_string(kMaxFrameBytes) + " bytes came");
    auto got = os::read_some(fd_.get(), buffer_, deadline);
    if (!got) return std::unexpected(got.error());
    if (*got > 0) continue;
    if (buffer_.empty()) return fail(Code::kNotFound, "the connection was closed");
    scanned_ = 0;
    return std::exchange(buffer_, {});
  }
}

void LineSocket::shut_down() noexcept { os::shut_down(fd_.get()); }

}  // namespace inferd::client
