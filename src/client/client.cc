#include "inferd/client.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "client/connection.h"
#include "client/dial.h"
#include "client/line_socket.h"
#include "client/to_wire.h"
#include "wire/admin_codec.h"
#include "wire/v1_codec.h"

namespace inferd::client {
namespace {

constexpr auto kFirstBackOff = std::chrono::milliseconds(100);
constexpr auto kLongestBackOff = std::chrono::milliseconds(5'000);

}  // namespace

struct Client::Impl : Connection {
  using Connection::Connection;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Expected<Client> Client::connect(const Endpoint& endpoint) {
  auto fd = dial(endpoint, "infer.sock");
  if (!fd) return std::unexpected(fd.error());
  return Client(std::make_unique<Impl>(std::move(*fd)));
}

Expected<Answer> Client::generate(const Request& request, const OnText& on_text, const OnFrame& on_frame) {
  auto converted = to_wire(request);
  if (!converted) return std::unexpected(converted.error());
  std::string line;
  wire::v1::append_request(line, *converted);
  line += '\n';
  if (auto sent = impl_->send(line); !sent) return std::unexpected(sent.error());
  for (;;) {
    auto frame = impl_->read_frame();
    if (!frame) return std::unexpected(frame.error());
    auto response = wire::v1::decode_response(*frame);
    if (!response) return std::unexpected(not_the_protocol(response.error()));
    if (on_frame) on_frame(*frame);
    if (const auto* token = std::get_if<wire::v1::Token>(&*response)) {
      if (on_text && !on_text(token->content)) {
        cancel();
        return std::unexpected(cancelled());
      }
    } else if (auto* failure = std::get_if<wire::v1::Failure>(&*response)) {
      return std::unexpected(refused(failure->error));
    } else if (auto* done = std::get_if<wire::v1::Done>(&*response)) {
      const Usage& usage = done->completion.usage;
      return Answer{std::move(done->content), std::string(wire::v1::stop_reason_name(done->completion.stop_reason)),
                    std::move(done->backend), std::move(done->route),
                    usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens};
    }
  }
}

void Client::cancel() noexcept { impl_->cancel(); }

double StatusEvent::number(const std::string& name, double otherwise) const {
  const auto at = fields.find(name);
  const auto* value = at == fields.end() ? nullptr : std::get_if<double>(&at->second);
  return value == nullptr ? otherwise : *value;
}

std::string StatusEvent::text(const std::string& name) const {
  const auto at = fields.find(name);
  const auto* value = at == fields.end() ? nullptr : std::get_if<std::string>(&at->second);
  return value == nullptr ? std::string() : *value;
}

struct StatusStream::Impl {
  LineSocket socket;
};

StatusStream::StatusStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StatusStream::StatusStream(StatusStream&&) noexcept = default;
StatusStream& StatusStream::operator=(StatusStream&&) noexcept = default;
StatusStream::~StatusStream() = default;

Expected<StatusStream> StatusStream::connect(const std::optional<std::string>& socket) {
  auto fd = dial_unix(socket, "admin.sock");
  if (!fd) return std::unexpected(fd.error());
  return StatusStream(std::make_unique<Impl>(LineSocket(std::move(*fd))));
}

Expected<StatusEvent> StatusStream::next(std::optional<std::chrono::milliseconds> timeout) {
  auto line = impl_->socket.read_line(timeout);
  if (!line) {
    const auto kind = line.error().code == Code::kInUse ? Failure::Kind::kTimeout : Failure::Kind::kLost;
    return std::unexpected(Failure{kind, {}, line.error().message});
  }
  auto frame = wire::admin::decode_frame(*line);
  if (!frame) return std::unexpected(not_the_protocol(frame.error()));
  return StatusEvent{std::move(frame->status), std::move(frame->phase), std::move(frame->fields), std::move(*line)};
}

Expected<void> wait_ready(const std::optional<std::string>& admin_socket, std::chrono::milliseconds timeout,
                          const std::function<void(const StatusEvent&)>& on_event) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const auto left = [&] { return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()); };
  auto back_off = kFirstBackOff;
  for (;;) {
    auto stream = StatusStream::connect(admin_socket);
    if (!stream && stream.error().kind != Failure::Kind::kUnreachable) return std::unexpected(stream.error());
    while (stream) {
      auto event = stream->next(std::max(left(), std::chrono::milliseconds(0)));
      if (!event && event.error().kind == Failure::Kind::kLost) break;  // it ended: perhaps another one starts
      if (!event) return std::unexpected(event.error());
      if (on_event) on_event(*event);
      if (event->status == "ready") return {};
      if (event->status == "error") return std::unexpected(Failure{Failure::Kind::kFailedStart, {}, event->text("reason")});
    }
    if (left() <= back_off) {
      return std::unexpected(Failure{Failure::Kind::kTimeout, {}, stream ? "the daemon is not ready" : stream.error().message});
    }
    std::this_thread::sleep_for(back_off);
    back_off = std::min(back_off * 2, kLongestBackOff);
  }
}

}  // namespace inferd::client
