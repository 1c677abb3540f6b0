// One connection to an inference surface: a line with a request goes out, the frames of its answer come in. What Client, TypedClient and
// EmbedClient are made of. One thread; cancel() any thread. Owns the socket.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "client/line_socket.h"
#include "inferd/client.h"

namespace inferd::client {

class Connection {
 public:
  explicit Connection(os::UniqueFd fd) : socket_(std::move(fd)) {}

  /// Sends a line that ends with its LF. kRefused for one that is too long for a frame. Another failure is told by read_frame(): a daemon
  /// that refuses a frame while it is still being sent has answered by then.
  Expected<void> send(std::string_view line);
  /// kCancelled, kLost.
  Expected<std::string> read_frame();
  /// Every read and write from now on fails. Async-signal-safe.
  void cancel() noexcept;

 private:
  LineSocket socket_;
  Status sent_;
  std::atomic<bool> cancelled_{false};
};

Failure lost(const Error& error);
Failure cancelled();
/// What an error frame says, or would say.
Failure refused(const Error& error);
/// What came is no frame of the surface.
Failure not_the_protocol(const Error& error);

}  // namespace inferd::client
