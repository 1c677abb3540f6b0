#include "daemon/daemon.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/log.h"
#include "daemon/backends.h"
#include "daemon/listeners.h"
#include "observe/activity_log.h"
#include "observe/event_bus.h"
#include "os/asio.h"
#include "os/instance_lock.h"
#include "os/paths.h"
#include "os/system.h"
#include "os/worker_pool.h"
#include "schedule/dispatch.h"
#include "session/admin_session.h"
#include "session/connection.h"
#include "session/v1_session.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
constexpr size_t kPoolThreads = 2;
constexpr size_t kPoolQueue = 256;
constexpr auto kLastWord = std::chrono::milliseconds(50);  // whoever is just connecting to admin still hears why the start failed
constexpr auto kLastFlush = std::chrono::seconds(1);  // after the drain deadline, for the final frames

class Daemon {
 public:
  explicit Daemon(const DaemonOptions& options) : options_(options), signals_(io_, SIGTERM, SIGINT) {}
  ~Daemon();
  int run();

 private:
  Status bring_up();
  Status start_admin();
  void load_next(size_t index);
  void watch_loading();
  Status open_inference();
  void fail_start(const Error& error);
  void on_signal();
  void drain();
  void drain_if_idle();
  void on_drain_deadline();
  void stop();

  const DaemonOptions& options_;
  std::unique_ptr<ActivityLog> log_;
  os::asio::io_context io_{1};
  os::Poller poller_{io_};
  os::asio::signal_set signals_;
  std::optional<os::InstanceLock> lock_;
  EventBus bus_;
  std::set<std::shared_ptr<AdminSession>> admin_sessions_;
  std::unique_ptr<os::Listener> admin_listener_;
  std::unique_ptr<os::WorkerPool> pool_;
  std::optional<Transport> transport_;  // of v1
  std::vector<std::unique_ptr<Backend>> backends_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<SessionContext> context_;
  std::vector<std::unique_ptr<os::Listener>> listeners_;
  os::asio::steady_timer loading_watch_{io_}, drain_timer_{io_};
  std::chrono::steady_clock::time_point last_progress_;
  std::shared_ptr<std::atomic<bool>> stopping_ = std::make_shared<std::atomic<bool>>(false);  // read by the pool
  bool draining_ = false;
  int exit_code_ = 0;
};

Daemon::~Daemon() {
  *stopping_ = true;
  pool_.reset();
  listeners_.clear();
  admin_listener_.reset();
  if (context_) context_->on_idle = nullptr;
  while (!admin_sessions_.empty()) (*admin_sessions_.begin())->close();
  if (context_) {
    const auto open = context_->connections;
    for (const auto& connection : open) connection->abandon();
  }
  backends_.clear();
  io_.restart();
  io_.poll();  // lets the cancelled handlers go, and with them the connections
  log::install(log::Filter(), nullptr);
}

int Daemon::run() {
  os::prepare_process();
  os::raise_descriptor_limit();
  auto log = ActivityLog::open({.directory = os::default_log_directory()});
  if (!log) {
    std::fprintf(stderr, "inferd-daemon: %s\n", log.error().message.c_str());
    return 1;
  }
  log_ = std::move(*log);
  log::install(log::Filter::parse(std::getenv("INFERD_LOG")), log_.get());
  signals_.async_wait([this](const os::ErrorCode& error, int) {
    if (!error) on_signal();
  });
  if (auto up = bring_up(); !up) fail_start(up.error());
  io_.run();
  os::block_termination_signals();
  return exit_code_;
}

Status Daemon::bring_up() {
  std::optional<gid_t> group;
  if (options_.group) {
    auto id = os::group_id(*options_.group);
    if (!id) return std::unexpected(id.error());
    group = *id;
  }
  const fs::path runtime = os::runtime_directory();
  if (uses_runtime_directory(options_)) {
    if (auto prepared = os::prepare_runtime_directory(runtime, group); !prepared) return prepared;
  }
  auto lock = os::InstanceLock::acquire(options_.lock.value_or(runtime / "inferd.lock"));
  if (!lock) return std::unexpected(lock.error());
  lock_ = std::move(*lock);
  if (auto started = start_admin(); !started) return started;
  if (auto checked = check_options(options_); !checked) return checked;
  auto transport = choose_v1_transport(options_, group);
  if (!transport) return std::unexpected(transport.error());
  transport_ = std::move(*transport);
  pool_ = std::make_unique<os::WorkerPool>(kPoolThreads, kPoolQueue);
  auto backends = make_backends(options_, BackendContext{io_, bus_, *pool_, stopping_});
  if (!backends) return std::unexpected(backends.error());
  backends_ = std::move(*backends);
  scheduler_ = std::make_unique<Scheduler>(io_, options_.queue_depth);
  context_ = std::make_unique<SessionContext>(io_, poller_, *scheduler_, *log_, *pool_, options_.max_buffered_bytes,
                                              std::chrono::seconds(options_.write_timeout_secs));
  last_progress_ = std::chrono::steady_clock::now();
  bus_.subscribe({[this](const StatusEvent&) { last_progress_ = std::chrono::steady_clock::now(); }, [](const Capabilities&) {}});
  watch_loading();
  load_next(0);
  return {};
}

Status Daemon::start_admin() {
  const fs::path path = options_.admin_addr.value_or(os::runtime_directory() / "admin.sock");
  auto fd = os::listen_unix(path, {.mode = 0600, .group = std::nullopt});
  if (!fd) return std::unexpected(fd.error());
  admin_listener_ = std::make_unique<os::Listener>(io_, std::move(*fd), "admin socket " + path.string(), path);
  admin_listener_->start([this](os::UniqueFd client) {
    std::make_shared<AdminSession>(poller_, bus_, admin_sessions_, std::move(client))->start();
  });
  log::info("daemon", "admin socket {}", path.string());
  return {};
}

void Daemon::load_next(size_t index) {
  if (index < backends_.size()) {
    backends_[index]->load([this, index](Status loaded) {
      if (!loaded) return fail_start(loaded.error());
      load_next(index + 1);
    });
    return;
  }
  if (draining_ || exit_code_ != 0) return;
  for (const auto& backend : backends_) bus_.publish(backend->capabilities());
  for (const auto& backend : backends_) scheduler_->router().add(backend.get());
  scheduler_->set_limits();
  loading_watch_.cancel();
  if (auto opened = open_inference(); !opened) return fail_start(opened.error());
  os::trim_memory();
  bus_.publish(StatusEvent{.state = StatusEvent::State::kReady, .phase = {}, .reason = {}});
  log::info("daemon", "ready: {} waiting places", options_.queue_depth);
}

// The ready timeout is time without progress of loading.
void Daemon::watch_loading() {
  const auto limit = std::chrono::seconds(options_.ready_timeout_secs);
  loading_watch_.expires_at(last_progress_ + limit);
  loading_watch_.async_wait([this, limit](const os::ErrorCode& error) {
    if (error) return;
    if (std::chrono::steady_clock::now() - last_progress_ < limit) return watch_loading();
    fail_start(Error{Code::kBackendUnavailable, "not ready: loading made no progress for " + std::to_string(limit.count()) + " s"});
  });
}

Status Daemon::open_inference() {
  auto listener = open_listener(io_, *transport_);
  if (!listener) return std::unexpected(listener.error());
  listeners_.push_back(std::move(*listener));
  const std::string* key = transport_->key ? &*transport_->key : nullptr;
  listeners_.back()->start([this, key](os::UniqueFd client) { accept_connection(*context_, std::move(client), &V1Session::make, key); });
  return {};
}

void Daemon::fail_start(const Error& error) {
  log::error("daemon", "start failed: {}", error.message);
  bus_.publish(StatusEvent{.state = StatusEvent::State::kError, .phase = {}, .reason = error.message});
  exit_code_ = 1;
  drain_timer_.expires_after(kLastWord);
  drain_timer_.async_wait([this](const os::ErrorCode&) { stop(); });
}

void Daemon::on_signal() {
  signals_.async_wait([this](const os::ErrorCode& error, int) {
    if (error) return;
    if (admin_listener_) admin_listener_->close();
    os::exit_now(0);  // a second signal ends at once
  });
  drain();
}

void Daemon::drain() {
  if (draining_ || exit_code_ != 0) return;
  draining_ = true;
  log::info("daemon", "draining for at most {} s", options_.drain_timeout_secs);
  for (const auto& listener : listeners_) listener->close();
  loading_watch_.cancel();
  bus_.publish(StatusEvent{.state = StatusEvent::State::kDraining, .phase = {}, .reason = {}});
  if (!context_) return stop();
  context_->draining = true;
  context_->on_idle = [this] { os::asio::post(io_, [this] { drain_if_idle(); }); };
  drain_timer_.expires_after(std::chrono::seconds(options_.drain_timeout_secs));
  drain_timer_.async_wait([this](const os::ErrorCode& error) {
    if (!error) on_drain_deadline();
  });
  drain_if_idle();
}

void Daemon::drain_if_idle() {
  for (const auto& connection : context_->connections) {
    if (connection->is_busy() || connection->has_unsent()) return;
  }
  stop();
}

void Daemon::on_drain_deadline() {
  log::warn("daemon", "the drain time is over: ending what still runs");
  const auto open = context_->connections;
  for (const bool started : {false, true}) {
    for (const auto& connection : open) connection->drain_deadline(started);
  }
  drain_timer_.expires_after(kLastFlush);
  drain_timer_.async_wait([this](const os::ErrorCode& error) {
    if (!error) stop();
  });
  drain_if_idle();
}

void Daemon::stop() {
  for (const auto& listener : listeners_) listener->close();
  if (admin_listener_) admin_listener_->close();
  io_.stop();
}

}  // namespace

int run_daemon(const DaemonOptions& options) { return Daemon(options).run(); }

}  // namespace inferd
