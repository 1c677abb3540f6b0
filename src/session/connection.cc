#include "session/connection.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "request/limits.h"
#include "session/access.h"
#include "wire/auth_codec.h"

namespace inferd {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kMaxLingerBytes = 1u << 20;
constexpr size_t kMaxUnsent = 256 * 1024;   // no further request is taken until less is left
constexpr size_t kMostUnsent = 64u << 20;   // an answer beyond that is not being read
constexpr auto kLingerTime = std::chrono::seconds(2);

// One scratch buffer for all connections: only the I/O thread reads, and nothing of it outlives one call.
char* scratch() {
  static char buffer[kReadBytes];
  return buffer;
}

}  // namespace

Connection::Connection(SessionContext& context, os::UniqueFd fd, Caller caller, const SessionKind& kind, std::shared_ptr<const os::SecretText> key)
    : context_(context),
      kind_(kind),
      stream_(context.poller, std::move(fd)),
      caller_(std::move(caller)),
      flow_(caller_.flow(++context.next_serial)),
      key_(std::move(key)),
      session_(kind.make(*this, context)),
      state_(key_ == nullptr ? State::kReading : State::kAuthenticating) {}

Connection::~Connection() {
  const size_t held = input_.size();
  input_.clear();
  resize_accounted(held);
  set_parsing(0);
}

void Connection::start() {
  if (!stream_.watch(*this)) return;  // the system has no room to watch it: dropped
  context_.connections.insert(shared_from_this());
  if (state_ != State::kAuthenticating) return;
  timer_ = std::make_unique<os::asio::steady_timer>(context_.io, std::chrono::seconds(kAuthenticationSeconds));
  timer_->async_wait([self = shared_from_this()](const os::ErrorCode& error) {
    if (error || self->state_ != State::kAuthenticating) return;
    log_auth_rejected(self->context_.log, self->kind_, self->caller_);
    self->close();
  });
}

void Connection::on_events(os::Poller::Events events) {
  const auto self = shared_from_this();  // close() lets the context's reference go
  if (events.hung_up && state_ == State::kLingering) {  // we write no more, nor does the peer: what it sent is read, or it would lose the reply
    unread_ = ending_ = true;
    return read_more();
  }
  if (events.hung_up) return hang_up();
  if (events.writable) {
    blocked_ = false;
    if (write_timer_) write_timer_->cancel();
    flush();
    if (context_.draining && context_.on_idle) context_.on_idle();
    if (!input_.empty() && may_take_line()) process_input();
    read_more();
  }
  if (events.readable) {
    unread_ = true;
    ending_ = ending_ || events.ending;
    read_more();
  }
}

// Events come once for new data, so what was left unread (while busy, or for the others' turn) is asked for again here.
void Connection::read_more() {
  if (!unread_ || state_ == State::kClosed || (state_ != State::kLingering && (end_of_file_ || !may_take_line()))) return;
  const auto result = stream_.read({scratch(), kReadBytes});
  unread_ = result.state == os::Stream::ReadState::kData || (result.state == os::Stream::ReadState::kDrained && ending_);
  switch (result.state) {
    case os::Stream::ReadState::kWouldBlock:
      return;
    case os::Stream::ReadState::kBroken:
      return hang_up();
    case os::Stream::ReadState::kEndOfFile:
      end_of_file_ = true;
      if (state_ != State::kLingering) return on_end_of_file();
      if (stream_.unsent() == 0) close();  // else linger() does when all is sent
      return;
    case os::Stream::ReadState::kData:
    case os::Stream::ReadState::kDrained:
      break;
  }
  if (state_ == State::kLingering) {
    lingered_ += result.bytes;
    if (lingered_ > kMaxLingerBytes && stream_.unsent() == 0) return close();
  } else {
    process({scratch(), result.bytes});
  }
  if (!unread_ || read_posted_ || (state_ != State::kLingering && !may_take_line())) return;
  read_posted_ = true;
  os::asio::post(context_.io, [self = shared_from_this()] {
    self->read_posted_ = false;
    self->read_more();
  });
}

// No further request while the answers to earlier ones pile up: a client that only writes has to read first.
bool Connection::may_take_line() {
  if (state_ != State::kReading && state_ != State::kAuthenticating) return false;
  if (stream_.unsent() >= kMaxUnsent) flush();
  return stream_.unsent() < kMaxUnsent && state_ != State::kClosed;
}

// `data` is what has just been read. Whole lines are handed over without a copy if nothing is held from before.
void Connection::process(std::string_view data) {
  if (!input_.empty()) {
    hold(data);
    return process_input();
  }
  processing_ = true;
  size_t at = 0;
  while (may_take_line()) {
    const size_t end = data.find('\n', at);
    if (end == std::string_view::npos) break;
    const std::string_view line = data.substr(at, end - at);
    at = end + 1;
    if (!take_line(line)) break;
  }
  processing_ = false;
  if (state_ != State::kClosed && state_ != State::kLingering && at < data.size()) hold(data.substr(at));
  flush_soon();
}

void Connection::process_input() {
  processing_ = true;
  while (may_take_line()) {
    const size_t end = input_.find('\n', scanned_);
    if (end == std::string::npos) {
      scanned_ = input_.size();
      break;
    }
    const size_t held = input_.size();
    std::string line;
    if (end + 1 == held) {
      line = std::move(input_);
      line.pop_back();
      input_.clear();
    } else {
      line = input_.substr(0, end);
      input_.erase(0, end + 1);
    }
    scanned_ = 0;
    resize_accounted(held);
    if (line.size() <= kInlineParseBytes) {
      if (!take_line(line)) break;
    } else if (line.size() > kMaxFrameBytes || state_ == State::kAuthenticating) {
      refuse_too_large();
    } else {
      state_ = State::kBusy;
      session_->on_large_frame(std::move(line));
    }
  }
  processing_ = false;
  if (state_ == State::kClosed) return;
  if (end_of_file_ && state_ == State::kReading) return on_end_of_file();
  if (input_.empty() && input_.capacity() > 0) std::string().swap(input_);
  flush_soon();
}

// False when no further line may be taken now.
bool Connection::take_line(std::string_view line) {
  if (state_ == State::kAuthenticating) return authenticate(line);
  state_ = State::kBusy;
  session_->on_frame(line);
  return state_ == State::kReading;
}

bool Connection::authenticate(std::string_view line) {
  const auto key = line.size() <= kMaxUnauthenticatedBytes ? wire::decode_auth(line) : std::nullopt;
  if (!key || !os::equal_in_constant_time(*key, key_->view())) {
    log_auth_rejected(context_.log, kind_, caller_);
    close();
    return false;
  }
  timer_.reset();
  state_ = State::kReading;
  return true;
}

void Connection::on_end_of_file() {
  if (state_ == State::kAuthenticating) {
    log_auth_rejected(context_.log, kind_, caller_);
    return close();
  }
  if (input_.empty()) {
    if (state_ == State::kReading) close_after_reply();
    return;
  }
  // The last line may come without its LF.
  const size_t held = input_.size();
  input_ += '\n';
  resize_accounted(held);
  process_input();
}

// Keeps unfinished input, within the frame limit and the budget of all connections.
void Connection::hold(std::string_view rest) {
  const size_t before = input_.size();
  input_.append(rest);
  resize_accounted(before);
  const size_t limit = state_ == State::kAuthenticating ? kMaxUnauthenticatedBytes : kMaxFrameBytes;
  // Only a line without its end counts: what follows an LF waits for its turn and is bounded by one read.
  const size_t unfinished = input_.find('\n', scanned_) == std::string::npos ? input_.size() : 0;
  if (unfinished > limit) {
    if (state_ == State::kAuthenticating) {
      log_auth_rejected(context_.log, kind_, caller_);
      return close();
    }
    return refuse_too_large();
  }
  if (context_.buffered_bytes > context_.max_buffered_bytes) {
    const auto largest = *std::ranges::max_element(context_.connections, {}, [](const auto& connection) { return connection->buffered(); });
    largest->refuse_too_large();
  }
}

void Connection::resize_accounted(size_t before) {
  context_.buffered_bytes += input_.size();
  context_.buffered_bytes -= before;
}

void Connection::set_parsing(size_t bytes) {
  context_.buffered_bytes += bytes;
  context_.buffered_bytes -= std::exchange(parsing_, bytes);
}

void Connection::refuse_too_large() {
  if (state_ == State::kClosed || state_ == State::kLingering) return;
  const size_t held = input_.size();
  std::string().swap(input_);
  scanned_ = 0;
  resize_accounted(held);
  if (state_ == State::kBusy) session_->on_hang_up();
  session_->append_too_large(output());
  close_after_reply();
}

void Connection::finished() {
  if (state_ != State::kBusy) return;
  state_ = State::kReading;
  if (processing_) return;  // the loop in process() goes on with the next line
  if (context_.draining && context_.on_idle) context_.on_idle();
  const auto self = shared_from_this();
  if (!input_.empty()) {
    process_input();
  } else {
    flush();
    if (end_of_file_ && state_ == State::kReading) return on_end_of_file();
  }
  read_more();
}

void Connection::flush() {
  if (!stream_.is_open() || stream_.unsent() == 0 || (blocked_ && stream_.unsent() <= kMostUnsent)) return;
  if (!stream_.flush()) return hang_up();
  if (stream_.unsent() > kMostUnsent) {
    log::warn("session", "{}: {} bytes of its answer are unread: closed", caller_.text, stream_.unsent());
    return hang_up();
  }
  if (stream_.unsent() > 0) return on_write_blocked();
  if (context_.draining && context_.on_idle) context_.on_idle();
  if (state_ == State::kLingering) linger();
}

void Connection::flush_soon() {
  if (processing_ || flush_posted_) return;  // process() does it at its end
  flush_posted_ = true;
  if (stream_.at_batch_end()) return;
  os::asio::post(context_.io, [self = shared_from_this()] { self->on_batch_end(); });
}

void Connection::on_batch_end() {
  const auto self = shared_from_this();
  flush_posted_ = false;
  flush();
}

// The peer takes nothing now. It has the write timeout to take at least something.
void Connection::on_write_blocked() {
  blocked_ = true;
  if (!write_timer_) write_timer_ = std::make_unique<os::asio::steady_timer>(context_.io);
  write_timer_->expires_after(context_.write_timeout);
  write_timer_->async_wait([self = shared_from_this()](const os::ErrorCode& error) {
    if (error || !self->blocked_ || self->state_ == State::kClosed) return;
    log::warn("session", "{}: no progress in reading its answer for {} s: closed", self->caller_.text,
              self->context_.write_timeout.count());
    self->hang_up();
  });
}

void Connection::close_after_reply() {
  if (state_ == State::kClosed || state_ == State::kLingering) return;
  state_ = State::kLingering;
  if (stream_.unsent() == 0) return linger();
  flush();
}

// The reply is with the kernel. If the peer may still be sending, closing now could throw the reply away (a reset on TCP), so what it
// sends is read and dropped for a moment.
void Connection::linger() {
  if (end_of_file_) return close();
  stream_.shutdown_write();
  timer_ = std::make_unique<os::asio::steady_timer>(context_.io, kLingerTime);
  timer_->async_wait([self = shared_from_this()](const os::ErrorCode& error) {
    if (!error) self->close();
  });
  read_more();
}

void Connection::hang_up() {
  if (state_ == State::kClosed) return;
  const bool busy = state_ == State::kBusy;
  close();
  if (busy) session_->on_hang_up();
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  stream_.close();
  if (timer_) timer_->cancel();
  if (write_timer_) write_timer_->cancel();
  if (context_.draining && context_.on_idle) context_.on_idle();
  context_.connections.erase(shared_from_this());
}

void Connection::drain_deadline(bool started) {
  if (state_ == State::kBusy) session_->on_drain_deadline(started);
  flush();
}

}  // namespace inferd
