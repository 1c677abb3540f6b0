// One accepted connection of an inference surface: authentication, framing of lines, bounded buffers, writing, hang-up, closing.
// What a line means is the Session's. I/O thread; owned by the context while it is open.
//
//   kAuthenticating --auth frame--> kReading --frame--> kBusy --finished()--> kReading ... --> kLingering --> kClosed
//
// While a request runs nothing is read: what the client sends meanwhile waits in the kernel.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "request/caller.h"
#include "os/secret_memory.h"
#include "os/stream.h"
#include "session/context.h"

namespace inferd {

class Connection;

/// The protocol of one surface. Owned by its connection.
class Session {
 public:
  virtual ~Session() = default;
  /// One line without its LF, at most kInlineParseBytes long. The session answers through the connection and calls
  /// Connection::finished() when it wants the next one, possibly before it returns.
  virtual void on_frame(std::string_view line) = 0;
  /// A longer line: to be parsed on the pool.
  virtual void on_large_frame(std::string line) = 0;
  /// The reply to a line beyond kMaxFrameBytes.
  virtual void append_too_large(std::string& out) = 0;
  /// The client is gone: stop the work, send nothing.
  virtual void on_hang_up() = 0;
  /// The drain time is over: end the request now, with a frame that says so. Called twice: for those that wait, then, with `started`,
  /// for those that run, whose places nobody may get any more.
  virtual void on_drain_deadline(bool started) = 0;
};

/// A surface: what its connections speak. Of static storage.
struct SessionKind {
  std::string_view name;    // v1, v2, embed; in logs of the latter two: wire_version
  std::string_view prefix;  // of their log events (spec 06 §7.2)
  std::unique_ptr<Session> (*make)(Connection&, SessionContext&);
};

class Connection final : public std::enable_shared_from_this<Connection>, private os::Poller::Watcher {
 public:
  /// `key` null: no authentication.
  Connection(SessionContext& context, os::UniqueFd fd, Caller caller, const SessionKind& kind, std::shared_ptr<const os::SecretText> key);
  ~Connection() override;

  void start();

  const Caller& caller() const { return caller_; }
  const Flow& flow() const { return flow_; }
  std::string& output() { return stream_.output(); }
  /// Sends what output() holds, as far as the peer takes it.
  void flush();
  /// The same, but once for all frames that come out of one event, and after those of other connections.
  void flush_soon();
  /// The request has ended: the next line is read.
  void finished();
  /// Sends what output() holds, then closes so that the peer gets it.
  void close_after_reply();
  void close();
  bool is_busy() const { return state_ == State::kBusy; }
  bool has_unsent() const { return stream_.is_open() && stream_.unsent() > 0; }
  void drain_deadline(bool started);
  /// The daemon ends: closes without a word.
  void abandon() { hang_up(); }

  size_t buffered() const { return input_.size() + parsing_; }
  /// A large frame of so many bytes is being parsed (0: no more): it counts as buffered.
  void set_parsing(size_t bytes);
  /// Used when all connections together hold too much: this one held most.
  void refuse_too_large();

 private:
  enum class State { kAuthenticating, kReading, kBusy, kLingering, kClosed };

  void on_events(os::Poller::Events events) override;
  void on_batch_end() override;
  void read_more();
  void on_write_blocked();
  bool may_take_line();
  void process(std::string_view data);
  void process_input();
  bool take_line(std::string_view line);
  bool authenticate(std::string_view line);
  void on_end_of_file();
  void hold(std::string_view rest);
  void resize_accounted(size_t before);
  void linger();
  void hang_up();

  SessionContext& context_;
  const SessionKind& kind_;
  os::Stream stream_;
  const Caller caller_;
  const Flow flow_;
  const std::shared_ptr<const os::SecretText> key_;  // that of when it came
  std::unique_ptr<Session> session_;
  State state_;
  bool end_of_file_ = false;
  bool unread_ = false;       // the socket may hold data: no event will tell again
  bool ending_ = false;       // the peer writes no more: read until the end of file
  bool read_posted_ = false;
  bool processing_ = false;   // inside process(): finished() returns to it
  bool blocked_ = false;      // the peer takes nothing; an event tells when there is room
  bool flush_posted_ = false;
  std::string input_;         // an unfinished line, or what came while busy
  size_t parsing_ = 0;
  size_t scanned_ = 0;        // bytes of input_ without an LF
  size_t lingered_ = 0;       // bytes thrown away after the last reply
  std::unique_ptr<os::asio::steady_timer> timer_;  // authentication, then lingering
  std::unique_ptr<os::asio::steady_timer> write_timer_;
};

}  // namespace inferd
