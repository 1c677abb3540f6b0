#include "os/listener.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>

#include "base/log.h"
#include "os/os_error.h"
#include "os/unix_socket.h"

namespace inferd::os {
namespace {
constexpr int kAcceptsPerWakeUp = 64;  // then others get their turn
constexpr auto kPause = std::chrono::milliseconds(50);
}  // namespace

Listener::Listener(asio::io_context& io, UniqueFd fd, std::string name, std::optional<std::filesystem::path> unix_path)
    : descriptor_(io, fd.release()), pause_(io), name_(std::move(name)), unix_path_(std::move(unix_path)) {
  if (unix_path_) {
    struct stat info{};
    if (::lstat(unix_path_->c_str(), &info) == 0) {
      device_ = info.st_dev;
      inode_ = info.st_ino;
    }
  }
}

void Listener::start(OnAccept on_accept) {
  on_accept_ = std::move(on_accept);
  wait();
}

void Listener::close() {
  if (!*alive_) return;
  *alive_ = false;
  ErrorCode ignored;
  pause_.cancel();
  descriptor_.close(ignored);
  if (unix_path_) unlink_if_ours(*unix_path_, device_, inode_);
}

void Listener::wait() {
  descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, [this, alive = alive_](const ErrorCode& error) {
    if (*alive && !error) accept_some();
  });
}

void Listener::accept_some() {
  for (int i = 0; i < kAcceptsPerWakeUp; ++i) {
    UniqueFd fd(::accept4(descriptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      warned_ = false;
      on_accept_(std::move(fd));
      if (!*alive_) return;
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (!warned_) log::warn("listener", "{}", os_error(errno, name_ + ": accept pauses").message);
    warned_ = true;
    pause_.expires_after(kPause);
    pause_.async_wait([this, alive = alive_](const ErrorCode& error) {
      if (*alive && !error) accept_some();
    });
    return;
  }
  wait();
}

}  // namespace inferd::os
