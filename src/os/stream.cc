#include "os/stream.h"

#include <sys/socket.h>

#include <cerrno>

namespace inferd::os {
namespace {
constexpr size_t kKeptOutput = 16 * 1024;  // a larger buffer is given back, so that idle connections cost little
}

bool Stream::watch(Poller::Watcher& watcher) {
  slot_ = poller_.add(fd_.get(), watcher);
  return slot_ != Poller::kNone;
}

Stream::ReadResult Stream::read(std::span<char> into) {
  for (;;) {
    const ssize_t n = ::recv(fd_.get(), into.data(), into.size(), MSG_DONTWAIT);
    if (n > 0) return {static_cast<size_t>(n) < into.size() ? ReadState::kDrained : ReadState::kData, static_cast<size_t>(n)};
    if (n == 0) return {ReadState::kEndOfFile, 0};
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {ReadState::kWouldBlock, 0};
    return {ReadState::kBroken, 0};
  }
}

bool Stream::flush() {
  while (sent_ < output_.size()) {
    const ssize_t n = ::send(fd_.get(), output_.data() + sent_, output_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      sent_ += static_cast<size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (sent_ > kKeptOutput) {
        output_.erase(0, sent_);
        sent_ = 0;
      }
      if (!wants_write_) poller_.want_write(slot_, fd_.get(), true);
      wants_write_ = true;
      return true;
    } else if (errno != EINTR) {
      return false;
    }
  }
  if (wants_write_) poller_.want_write(slot_, fd_.get(), false);
  wants_write_ = false;
  if (output_.capacity() > kKeptOutput) {
    std::string().swap(output_);
  } else {
    output_.clear();
  }
  sent_ = 0;
  return true;
}

void Stream::shutdown_write() { ::shutdown(fd_.get(), SHUT_WR); }

void Stream::close() {
  if (!fd_) return;
  if (slot_ != Poller::kNone) poller_.remove(slot_, fd_.get());
  slot_ = Poller::kNone;
  fd_.reset();
}

}  // namespace inferd::os
