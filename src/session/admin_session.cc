#include "session/admin_session.h"

#include <array>

#include "base/log.h"
#include "request/limits.h"
#include "wire/admin_codec.h"

namespace inferd {

AdminSession::AdminSession(os::asio::io_context& io, EventBus& bus, std::set<std::shared_ptr<AdminSession>>& sessions, os::UniqueFd fd)
    : bus_(bus), sessions_(sessions), stream_(io, std::move(fd)) {}

void AdminSession::start() {
  if (!stream_.is_open()) return;
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
  wait_readable();
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
  if (!writing_) {
    if (!stream_.flush()) return close();
    if (stream_.unsent() == 0) {
      behind_ = 0;
      return;
    }
    wait_writable();
  }
  if (behind_ > kAdminBacklogEvents) {
    log::warn("admin", "a client is more than {} events behind: closed", kAdminBacklogEvents);
    close();
  }
}

void AdminSession::wait_writable() {
  writing_ = true;
  stream_.async_writable([self = shared_from_this()](const os::ErrorCode& error) {
    self->writing_ = false;
    if (!error) self->send();
  });
}

// What a client writes has no meaning here; reading it shows when the client closes.
void AdminSession::wait_readable() {
  stream_.async_readable([self = shared_from_this()](const os::ErrorCode& error) {
    if (error || !self->subscribed_) return;
    std::array<char, 4096> ignored;
    const auto result = self->stream_.read(ignored);
    if (result.state == os::Stream::ReadState::kEndOfFile || result.state == os::Stream::ReadState::kBroken) return self->close();
    self->wait_readable();
  });
}

}  // namespace inferd
