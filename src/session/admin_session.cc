#include "session/admin_session.h"

#include <array>

#include "base/log.h"
#include "request/limits.h"
#include "wire/admin_codec.h"

namespace inferd {
namespace {
constexpr int kReadsPerEvent = 4;  // what is beyond that waits for the client's next byte: nobody misses it
}

AdminSession::AdminSession(os::Poller& poller, EventBus& bus, std::set<std::shared_ptr<AdminSession>>& sessions, os::UniqueFd fd)
    : bus_(bus), sessions_(sessions), stream_(poller, std::move(fd)) {}

void AdminSession::start() {
  if (!stream_.watch(*this)) return;
  sessions_.insert(shared_from_this());
  const auto on_event = [this](const auto& event) {
    wire::admin::append_event(stream_.output(), event);
    ++behind_;
    send();
  };
  subscription_ = bus_.subscribe({on_event, on_event});
  subscribed_ = true;
  for (const Capabilities& capabilities : bus_.capabilities()) wire::admin::append_event(stream_.output(), capabilities);
  wire::admin::append_event(stream_.output(), bus_.status());
  send();
}

void AdminSession::close() {
  if (subscribed_) bus_.unsubscribe(subscription_);
  subscribed_ = false;
  stream_.close();
  sessions_.erase(shared_from_this());
}

void AdminSession::send() {
  const auto self = shared_from_this();
  if (!subscribed_) return;
  if (!blocked_) {
    if (!stream_.flush()) return close();
    blocked_ = stream_.unsent() > 0;
    if (!blocked_) behind_ = 0;
  }
  if (behind_ > kAdminBacklogEvents) {
    log::warn("admin", "a client is more than {} events behind: closed", kAdminBacklogEvents);
    close();
  }
}

// What a client writes has no meaning here: it is read and dropped.
void AdminSession::on_events(os::Poller::Events events) {
  const auto self = shared_from_this();
  if (events.hung_up) return close();
  if (events.writable) {
    blocked_ = false;
    send();
  }
  static std::array<char, 64 * 1024> ignored;
  for (int i = 0; i < kReadsPerEvent && events.readable && subscribed_; ++i) {
    const auto result = stream_.read(ignored);
    if (result.state == os::Stream::ReadState::kBroken) return close();
    if (result.state != os::Stream::ReadState::kData) return;  // the end of its writing is not the end of its reading
  }
}

}  // namespace inferd
