// The C++ client of inferd: connect, wait until the daemon is ready, generate with streaming, cancel; and its status events.
// Blocking calls. One object is used by one thread at a time; only cancel() may be called from another thread or a signal handler.
// Link inferd_client. No other header of inferd is needed.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace inferd::client {

struct Failure {
  enum class Kind {
    kUnreachable,  // nobody listens (yet): the daemon does not run or is loading
    kNotPermitted, // this user may not use the socket
    kRefused,      // the daemon answered with an error frame; `code` says which
    kLost,         // the connection ended before the answer did
    kCancelled,    // by cancel()
    kTimeout,
    kProtocol,     // what came is not the protocol
    kFailedStart,  // the daemon says that its start failed
  };
  Kind kind = Kind::kProtocol;
  std::string code;     // kRefused: queue_full, backend_unavailable, invalid_request, frame_too_large, internal
  std::string message;  // one line for a person
};

template <class T>
using Expected = std::expected<T, Failure>;

/// Where v1 or admin is served. Nothing given: the daemon's default places are tried, best first.
struct Endpoint {
  std::optional<std::string> socket;  // path of a Unix socket
  std::optional<std::string> tcp;     // HOST:PORT (v1 only)
  std::string key;                    // TCP: sent first if not empty
};

struct Message {
  std::string role;  // system, user, assistant
  std::string content;
};

/// What is left out has the daemon's default: temperature 1.0, top_p 0.95, top_k 64, max_tokens 1000, a random seed.
struct Request {
  std::string id;
  std::vector<Message> messages;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<uint32_t> top_k, max_tokens, seed;
  std::string grammar;            // GBNF
  std::vector<std::string> stop;  // at most 16, 1 to 256 bytes each
  bool batch = false;             // priority
  bool local_only = false;
};

struct Answer {
  std::string content;
  std::string stop_reason;  // end, length, cancelled, error
  std::string backend, route;
  uint32_t prompt_tokens = 0, completion_tokens = 0, cached_prompt_tokens = 0;
};

/// A connection to the v1 surface. Requests on it are answered one after the other.
class Client {
 public:
  static Expected<Client> connect(const Endpoint& endpoint = {});
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();  // closes: a running request is cancelled

  /// Pieces of the answer as they come; return false to cancel.
  using OnText = std::function<bool(std::string_view piece)>;
  /// Each frame of the answer as it came, for tools that pass it on.
  using OnFrame = std::function<void(std::string_view line)>;
  Expected<Answer> generate(const Request& request, const OnText& on_text = {}, const OnFrame& on_frame = {});

  /// Ends the running generate() with kCancelled. The connection is closed, which is how v1 cancels: connect() again afterwards.
  /// Any thread; async-signal-safe.
  void cancel() noexcept;

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// One event of the admin socket.
struct StatusEvent {
  std::string status;  // starting, loading_model, capabilities, ready, restarting, draining, error, or a later one
  std::string phase;
  std::map<std::string, std::variant<std::nullptr_t, bool, double, std::string>> fields;  // every field, by name
  std::string line;    // as it came, one JSON object

  double number(const std::string& name, double otherwise = 0) const;
  std::string text(const std::string& name) const;
};

/// A connection to the admin surface: the snapshot first, then every event.
class StatusStream {
 public:
  static Expected<StatusStream> connect(const std::optional<std::string>& socket = {});
  StatusStream(StatusStream&&) noexcept;
  StatusStream& operator=(StatusStream&&) noexcept;
  ~StatusStream();

  /// The next event; waits at most `timeout` (none: for ever). kTimeout, kLost.
  Expected<StatusEvent> next(std::optional<std::chrono::milliseconds> timeout = {});

 private:
  struct Impl;
  explicit StatusStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Waits until the daemon says that it is ready: dials the admin socket again (100 ms, doubled, at most 5 s) while nobody is there.
/// `on_event` sees every event on the way. kTimeout after `timeout`; kFailedStart if the daemon gives up.
Expected<void> wait_ready(const std::optional<std::string>& admin_socket, std::chrono::milliseconds timeout,
                          const std::function<void(const StatusEvent&)>& on_event = {});

}  // namespace inferd::client
