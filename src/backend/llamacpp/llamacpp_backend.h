// The llamacpp backend: speaks with an inferd-engine process that holds the model. Never links llama.cpp. I/O thread.
// Owns the process: starts it, hands it the verified model file, starts a new one when it dies. Requests that wait survive that;
// those that run end with kBackendUnavailable.
#pragma once

#include <chrono>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/llamacpp/embed_requests.h"
#include "backend/llamacpp/suspects.h"
#include "engine_wire/messages.h"
#include "observe/event_bus.h"
#include "os/asio.h"
#include "os/child_process.h"
#include "os/packet_socket.h"

namespace inferd {

class LlamacppBackend final : public Backend {
 public:
  /// Gives the model file's descriptor once its digest has been verified; called once, on the I/O thread.
  using OpenModel = std::function<void(std::function<void(Result<os::UniqueFd>)>)>;

  struct Options {
    std::string name = "llamacpp";
    std::filesystem::path engine_program;
    std::vector<std::string> engine_arguments;  // for tests
    std::string model_path;                     // for status events only
    uint32_t n_ctx = 0;                         // 0: the engine's default
    uint32_t kv_cells = 0;                      // 0: the engine's default
    uint32_t sequences = 8;
    uint32_t threads = 1;
    uint64_t host_cache_bytes = 0;              // for finished sequences outside the KV cells
    bool embed = false;
    int32_t embed_pooling = -1;                 // llama_pooling_type; -1: the model file's, else mean
    uint32_t embed_n_ctx = 2048;
    bool share_between_users = false;           // prefixes; else only requests of one user share
    std::chrono::seconds step_timeout{10};      // a step that takes longer, and 20 times its prediction: the engine is stuck
    OpenModel open_model;
    OpenModel open_projector;  // null: no images and sounds
    uint32_t image_max_tokens = 0;  // of one image; 0: the projector's own
    std::shared_ptr<const os::UniqueFd> turnstile;  // shared by the engines of this daemon; null: there is no other
  };

  LlamacppBackend(os::asio::io_context& io, EventBus& bus, Options options);
  ~LlamacppBackend() override;

  std::string_view kind() const override { return "llamacpp"; }
  const std::string& name() const override { return options_.name; }
  bool ready() const override { return state_ != State::kFailed && loaded_once_; }
  const Capabilities& capabilities() const override { return capabilities_; }
  bool mends_itself() const override { return true; }
  size_t active_limit() const override { return options_.sequences; }
  bool can_pause() const override { return true; }
  void load(std::function<void(Status)> on_loaded) override;
  std::unique_ptr<Generation> prepare(std::shared_ptr<const GenerateRequest> request, std::shared_ptr<TokenSink> sink) override;
  std::unique_ptr<Generation> embed(std::shared_ptr<const EmbedRequest> request, std::shared_ptr<EmbedSink> sink) override;

 private:
  enum class State { kIdle, kStarting, kLoading, kRunning, kWaitingToRestart, kFailed };
  class Handle;

  // One request that the engine knows or will know.
  struct Request {
    std::shared_ptr<const GenerateRequest> request;
    std::shared_ptr<TokenSink> sink;
    bool sent = false;      // prepare was sent to this engine process
    bool prepared = false;  // the sink was told
    bool wanted = false;    // start() was called, and pause() not since
    bool promoted = false;
    bool held = false;      // its start is not sent while another runs alone
    bool started = false;   // the engine gave it a sequence, and it was not paused before its first text
    bool has_text = false;
    bool cancelled = false;
    bool alone = false;     // a suspect: runs when nothing else does
    std::chrono::steady_clock::time_point since{};  // it is here
    std::chrono::steady_clock::time_point prepare_since{};  // when prepare was sent
  };
  // What belongs to one engine process; replaced as a whole.
  struct Process {
    os::ChildProcess child;
    os::asio::posix::stream_descriptor channel, ended, errors;
    std::deque<std::string> outgoing;
    bool sending = false;
    std::string variant;
    bool proven = false;
    std::string last_error_line, partial_line;
    std::string failure;  // of `failed`
    Process(os::asio::io_context& io, os::ChildProcess child, os::UniqueFd channel, os::UniqueFd ended, os::UniqueFd errors);
  };

  Status start_engine();
  void open_file(const OpenModel& open, os::UniqueFd& into, std::function<void()> then);
  void maybe_load();
  /// False if it cannot be sent (no descriptors for a large message).
  bool send(const engine_wire::ToEngine& message, std::span<const int> descriptors = {});
  void send_or_kill(const engine_wire::ToEngine& message);
  void send_outgoing();
  void wait_for_messages();
  void wait_for_end();
  void wait_for_errors();
  bool read_errors(Process& process);
  void on_messages();
  void on_engine_ended();
  void restart_or_fail(const std::string& how);
  void fail_for_good(const std::string& reason);
  void publish_phase(const std::string& phase, std::map<std::string, Phase::Value> fields);
  std::optional<Error> too_long(const GenerateRequest& request) const;
  void send_prepare(uint64_t id, Request& request);
  void end_request(uint64_t id);
  void let_suspects_run();
  void watch();
  void judge_death(const os::ChildProcess::End& end);
  void drop_running_requests();
  static std::string content_of(const Request& request);
  /// Prepared, or started, in the engine right now.
  static bool is_present(const Request& request) { return request.sent && (request.wanted || !request.prepared); }
  void send_start(uint64_t id, Request& request);
  void send_what_may_go();

  void on(const engine_wire::Variant& message);
  void on(const engine_wire::Proven& message);
  void on(const engine_wire::Loading& message);
  void on(const engine_wire::Loaded& message);
  void on(const engine_wire::Prepared& message);
  void on(const engine_wire::Refused& message);
  void on(const engine_wire::Step& message);
  void on(const engine_wire::Removed& message);
  void on(const engine_wire::Failed& message);
  void on(const engine_wire::LongStep& message);
  void on(const engine_wire::Warning& message);
  void on(engine_wire::Embedded& message);

  os::asio::io_context& io_;
  EventBus& bus_;
  Options options_;
  Capabilities capabilities_;
  State state_ = State::kIdle;
  bool loaded_once_ = false;
  std::function<void(Status)> on_loaded_;
  std::shared_ptr<Process> process_;
  os::UniqueFd model_, projector_;        // verified
  std::set<std::string> bad_variants_;    // an engine died while it proved them
  std::string good_variant_;              // proven in this daemon's life
  uint32_t n_ctx_ = 0, longest_token_ = 1;  // of the loaded model
  std::map<uint64_t, Request> requests_;
  EmbedRequests embeds_;
  uint64_t next_id_ = 1;
  os::asio::steady_timer restart_timer_, watch_timer_;
  std::chrono::steady_clock::time_point last_step_{};  // of the engine, or when it got work
  std::chrono::milliseconds step_limit_{};  // of the step that the engine is in
  bool killed_by_watchdog_ = false;         // this process
  int deaths_without_token_ = 0;
  Suspects suspects_;
  uint64_t alone_ = 0;                    // the request that runs alone now; 0: none
  os::Packet packet_;                     // reused for every message
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace inferd
