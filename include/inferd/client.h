// The C++ client of inferd: connect, wait until the daemon is ready, generate with streaming (v1: text; v2: tools, images, sound), embed,
// cancel; and its status events. Blocking calls. One object is used by one thread at a time; only cancel() may be called from another
// thread or a signal handler. Link inferd_client. No other header of inferd is needed.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace inferd::client {

struct Failure {
  enum class Kind {
    kUnreachable,  // nobody listens (yet): the daemon does not run or is loading
    kNotPermitted, // this user may not use the socket
    kRefused,      // the daemon answered with an error frame, or this request would only get one; `code` says which
    kLost,         // the connection ended before the answer did
    kCancelled,    // by cancel()
    kTimeout,
    kProtocol,     // what came is not the protocol
    kFailedStart,  // the daemon says that its start failed
  };
  Kind kind = Kind::kProtocol;
  std::string code;     // kRefused: queue_full, backend_unavailable, invalid_request, frame_too_large, internal, attachment_unsupported,
                        // tool_call_malformed, embed_unsupported
  std::string message;  // one line for a person
};

template <class T>
using Expected = std::expected<T, Failure>;

/// Where a surface (v1, v2, embed) is served. Nothing given: the daemon's default places are tried, best first.
struct Endpoint {
  std::optional<std::string> socket;  // path of a Unix socket
  std::optional<std::string> tcp;     // HOST:PORT
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

/// What a message of v2 is made of.
struct TextPart {
  std::string text;
};
struct ImagePart {
  uint32_t width = 0, height = 0;  // pixels
  std::vector<uint8_t> rgb;        // width * height * 3 bytes: red, green, blue, row by row from the top left
};
struct AudioPart {
  uint32_t sample_rate = 0;    // Hz, as the model wants it: nothing is resampled
  std::vector<float> samples;  // one channel, -1 to 1
};
/// A call that the model made earlier in the conversation.
struct ToolUsePart {
  std::string id, name;
  std::string input;  // JSON text
};
struct Part;
struct ToolResultPart {
  std::string id;  // of the call
  std::vector<Part> content;
};
struct Part {
  std::variant<TextPart, ImagePart, AudioPart, ToolUsePart, ToolResultPart> held;
};

struct TypedMessage {
  std::string role;  // system, user, assistant; results of tools come from the user
  std::vector<Part> content;
};

struct ToolDeclaration {
  std::string name, description;
  std::string input_schema;  // JSON text
};

struct ToolChoice {
  enum class Mode { kAuto, kNone, kRequired, kNamed };
  Mode mode = Mode::kAuto;
  std::string name;  // kNamed: the tool that has to be called
};

/// What is left out has the backend's default.
struct TypedRequest {
  std::string id;
  std::vector<TypedMessage> messages;
  std::vector<ToolDeclaration> tools;
  std::optional<ToolChoice> tool_choice;
  std::optional<std::string> json_schema;  // JSON text: the answer is a JSON value that it describes
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<uint32_t> top_k, max_tokens, seed;
  std::vector<std::string> stop;  // at most 16, 1 to 256 bytes each
  bool batch = false;             // priority
  bool local_only = false;
};

/// A call that the model wants made: run the tool, then ask again with the whole conversation and the result.
struct ToolCall {
  std::string id, name;
  std::string input;  // JSON text
};

/// A part of an answer. Text and thinking come in deltas, a call is complete.
struct AnswerPiece {
  enum class Kind { kText, kThinking, kToolCall };
  Kind kind = Kind::kText;
  std::string text;  // kText, kThinking
  ToolCall call;     // kToolCall
};

struct TypedAnswer {
  std::string text, thinking;
  std::vector<ToolCall> tool_calls;
  std::string stop_reason;  // end_turn, max_tokens, tool_use, stop_sequence, cancelled, error
  std::string backend, route;
  uint32_t input_tokens = 0, output_tokens = 0, cached_input_tokens = 0;
  bool tool_choice_unsatisfied = false;  // a call was required, and the answer ended before it was made
};

/// A connection to the v2 surface. Requests on it are answered one after the other.
class TypedClient {
 public:
  static Expected<TypedClient> connect(const Endpoint& endpoint = {});
  TypedClient(TypedClient&&) noexcept;
  TypedClient& operator=(TypedClient&&) noexcept;
  ~TypedClient();  // closes: a running request is cancelled

  /// Pieces of the answer as they come; return false to cancel.
  using OnPiece = std::function<bool(const AnswerPiece& piece)>;
  /// Each frame of the answer as it came, for tools that pass it on.
  using OnFrame = std::function<void(std::string_view line)>;
  /// Images and sounds are sent as attachments of the request. What cannot be sent as it is (text that should be JSON and is not, more than
  /// 64 MiB) is kRefused without a word to the daemon.
  Expected<TypedAnswer> generate(const TypedRequest& request, const OnPiece& on_piece = {}, const OnFrame& on_frame = {});

  /// As Client::cancel().
  void cancel() noexcept;

 private:
  struct Impl;
  explicit TypedClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct EmbedRequest {
  std::string id;
  std::vector<std::string> input;
  std::optional<uint32_t> dimensions;  // of each vector; nothing: the model's width
  // What the vectors are for: retrieval_query, retrieval_document, similarity, classification, clustering, question_answering,
  // fact_verification, code_retrieval_query; empty: not said.
  std::string task;
  bool local_only = false;
};

struct EmbedAnswer {
  uint32_t dimensions = 0;
  std::vector<float> values;  // [inputs][dimensions], in the order of the inputs
  std::string model, backend, route;
  uint32_t input_tokens = 0;  // over all inputs

  std::span<const float> vector(size_t input) const { return std::span(values).subspan(input * dimensions, dimensions); }
};

/// A connection to the embed surface. Requests on it are answered one after the other.
class EmbedClient {
 public:
  static Expected<EmbedClient> connect(const Endpoint& endpoint = {});
  EmbedClient(EmbedClient&&) noexcept;
  EmbedClient& operator=(EmbedClient&&) noexcept;
  ~EmbedClient();  // closes: a running request is cancelled

  Expected<EmbedAnswer> embed(const EmbedRequest& request);

  /// As Client::cancel().
  void cancel() noexcept;

 private:
  struct Impl;
  explicit EmbedClient(std::unique_ptr<Impl> impl);
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
