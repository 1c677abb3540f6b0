#include "os/poller.h"

#include <sys/epoll.h>

#include <array>

namespace inferd::os {
namespace {
constexpr size_t kEventsPerCall = 128;
constexpr uint32_t kAlways = EPOLLIN | EPOLLRDHUP | EPOLLET;
}  // namespace

Poller::Poller(asio::io_context& io) : epoll_(::epoll_create1(EPOLL_CLOEXEC)), descriptor_(io) {
  descriptor_.assign(epoll_.release());
  wait();
}

Poller::Slot Poller::add(int fd, Watcher& watcher) {
  Slot slot;
  if (free_.empty()) {
    slot = static_cast<Slot>(entries_.size());
    entries_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  entries_[slot].watcher = &watcher;
  epoll_event event{.events = kAlways, .data = {.u64 = tag_of(slot)}};
  if (::epoll_ctl(descriptor_.native_handle(), EPOLL_CTL_ADD, fd, &event) == 0) return slot;
  entries_[slot].watcher = nullptr;
  free_.push_back(slot);
  return kNone;
}

void Poller::want_write(Slot slot, int fd, bool wanted) {
  epoll_event event{.events = kAlways | (wanted ? uint32_t{EPOLLOUT} : 0), .data = {.u64 = tag_of(slot)}};
  ::epoll_ctl(descriptor_.native_handle(), EPOLL_CTL_MOD, fd, &event);
}

void Poller::remove(Slot slot, int fd) {
  ::epoll_ctl(descriptor_.native_handle(), EPOLL_CTL_DEL, fd, nullptr);
  entries_[slot].watcher = nullptr;
  ++entries_[slot].generation;
  free_.push_back(slot);
}

void Poller::wait() {
  descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const ErrorCode& error) {
    if (error) return;
    dispatch();
    wait();
  });
}

bool Poller::at_batch_end(Slot slot) {
  if (in_batch_ && slot != kNone) batch_end_.push_back(tag_of(slot));
  return in_batch_ && slot != kNone;
}

// Null if the slot has another owner by now, or none.
Poller::Watcher* Poller::watcher_of(uint64_t tag) const {
  const Entry& entry = entries_[static_cast<Slot>(tag)];
  return entry.generation == static_cast<uint32_t>(tag >> 32) ? entry.watcher : nullptr;
}

void Poller::dispatch() {
  std::array<epoll_event, kEventsPerCall> events;
  const int n = ::epoll_wait(descriptor_.native_handle(), events.data(), events.size(), 0);
  in_batch_ = true;
  for (int i = 0; i < n; ++i) {
    const uint32_t flags = events[static_cast<size_t>(i)].events;
    Watcher* watcher = watcher_of(events[static_cast<size_t>(i)].data.u64);
    if (watcher == nullptr) continue;
    watcher->on_events({.readable = (flags & (EPOLLIN | EPOLLRDHUP)) != 0,
                        .ending = (flags & EPOLLRDHUP) != 0,
                        .writable = (flags & EPOLLOUT) != 0,
                        .hung_up = (flags & (EPOLLHUP | EPOLLERR)) != 0});
  }
  in_batch_ = false;
  for (size_t i = 0; i < batch_end_.size(); ++i) {
    if (Watcher* watcher = watcher_of(batch_end_[i])) watcher->on_batch_end();
  }
  batch_end_.clear();
}

}  // namespace inferd::os
