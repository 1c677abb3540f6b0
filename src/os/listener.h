// Accepts connections from one listening socket on the I/O thread. An accept error (no descriptors, no memory) pauses it for a
// moment and never ends it. Owns the listening descriptor; removes its Unix socket file when it closes.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "os/asio.h"
#include "os/unique_fd.h"

namespace inferd::os {

class Listener {
 public:
  using OnAccept = std::function<void(UniqueFd)>;

  /// `name` is for the log; `unix_path` is unlinked by close() if it still is our socket.
  Listener(asio::io_context& io, UniqueFd fd, std::string name, std::optional<std::filesystem::path> unix_path);
  ~Listener() { close(); }

  void start(OnAccept on_accept);
  void close();

 private:
  void wait();
  void accept_some();

  asio::posix::stream_descriptor descriptor_;
  asio::steady_timer pause_;
  std::string name_;
  std::optional<std::filesystem::path> unix_path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  OnAccept on_accept_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  bool warned_ = false;
};

}  // namespace inferd::os
