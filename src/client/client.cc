#include "inferd/client.h"

#include <atomic>
#include <thread>
#include <utility>

#include "client/dial.h"
#include "client/line_socket.h"
#include "wire/admin_codec.h"
#include "wire/auth_codec.h"
#include "wire/error_code.h"
#include "wire/v1_codec.h"

namespace inferd::client {
namespace {

constexpr auto kFirstBackOff = std::chrono::milliseconds(100);
constexpr auto kLongestBackOff = std::chrono::milliseconds(5'000);

Failure lost(const Error& error) { return Failure{Failure::Kind::kLost, {}, error.message}; }

Expected<GenerateRequest> to_wire(const Request& request) {
  GenerateRequest out;
  out.id = request.id;
  for (const Message& message : request.messages) {
    const bool system = message.role == "system", user = message.role == "user";
    if (!system && !user && message.role != "assistant") {
      return std::unexpected(Failure{Failure::Kind::kProtocol, {}, "role \"" + message.role + "\": expected system, user or assistant"});
    }
    out.messages.push_back({system ? Role::kSystem : user ? Role::kUser : Role::kAssistant, message.content});
  }
  out.sampling.temperature = request.temperature.value_or(out.sampling.temperature);
  out.sampling.top_p = request.top_p.value_or(out.sampling.top_p);
  out.sampling.top_k = request.top_k.value_or(out.sampling.top_k);
  out.sampling.seed = request.seed;
  out.max_tokens = request.max_tokens.value_or(out.max_tokens);
  out.grammar = request.grammar;
  out.stop = request.stop;
  out.priority = request.batch ? Priority::kBatch : Priority::kInteractive;
  out.local_only = request.local_only;
  return out;
}

}  // namespace

struct Client::Impl {
  LineSocket socket;
  std::atomic<bool> cancelled{false};
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Expected<Client> Client::connect(const Endpoint& endpoint) {
  auto fd = endpoint.tcp ? dial_tcp(*endpoint.tcp) : dial_unix(endpoint.socket, "infer.sock");
  if (!fd) return std::unexpected(fd.error());
  auto impl = std::make_unique<Impl>(LineSocket(std::move(*fd)));
  if (endpoint.tcp && !endpoint.key.empty()) {
    std::string line;
    wire::append_auth(line, endpoint.key);
    if (auto sent = impl->socket.write(line); !sent) return std::unexpected(lost(sent.error()));
  }
  return Client(std::move(impl));
}

Expected<Answer> Client::generate(const Request& request, const OnText& on_text, const OnFrame& on_frame) {
  auto converted = to_wire(request);
  if (!converted) return std::unexpected(converted.error());
  std::string line;
  wire::v1::append_request(line, *converted);
  line += '\n';
  // A daemon that refuses a frame while it is still being sent has answered by then: the answer is read all the same.
  const auto sent = impl_->socket.write(line);
  for (;;) {
    auto frame = impl_->socket.read_line();
    if (impl_->cancelled) return std::unexpected(Failure{Failure::Kind::kCancelled, {}, "cancelled"});
    if (!frame) return std::unexpected(lost(sent ? frame.error() : sent.error()));
    auto response = wire::v1::decode_response(*frame);
    if (!response) return std::unexpected(Failure{Failure::Kind::kProtocol, {}, response.error().message});
    if (on_frame) on_frame(*frame);
    if (const auto* token = std::get_if<wire::v1::Token>(&*response)) {
      if (on_text && !on_text(token->content)) {
        cancel();
        return std::unexpected(Failure{Failure::Kind::kCancelled, {}, "cancelled"});
      }
    } else if (auto* failure = std::get_if<wire::v1::Failure>(&*response)) {
      return std::unexpected(Failure{Failure::Kind::kRefused, std::string(wire::error_code_name(failure->error.code)), failure->error.message});
    } else if (auto* done = std::get_if<wire::v1::Done>(&*response)) {
      const Usage& usage = done->completion.usage;
      return Answer{std::move(done->content), std::string(wire::v1::stop_reason_name(done->completion.stop_reason)),
                    std::move(done->backend), std::move(done->route),
                    usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens};
    }
  }
}

void Client::cancel() noexcept {
  impl_->cancelled = true;
  impl_->socket.shut_down();
}

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
  if (!frame) return std::unexpected(Failure{Failure::Kind::kProtocol, {}, frame.error().message});
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
