#include "daemon/daemon.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/log.h"
#include "config/reload.h"
#include "config/surfaces.h"
#include "daemon/backends.h"
#include "daemon/configuration.h"
#include "daemon/listeners.h"
#include "observe/activity_log.h"
#include "observe/event_bus.h"
#include "os/asio.h"
#include "os/instance_lock.h"
#include "os/paths.h"
#include "os/service_manager.h"
#include "os/system.h"
#include "os/terminal.h"
#include "os/worker_pool.h"
#include "schedule/dispatch.h"
#include "session/admin_session.h"
#include "session/connection.h"
#include "session/embed_session.h"
#include "session/v1_session.h"
#include "session/v2_session.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
constexpr size_t kPoolThreads = 2;
constexpr size_t kPoolQueue = 256;
constexpr auto kLastWord = std::chrono::milliseconds(50);  // whoever is just connecting to admin still hears why the start failed
constexpr auto kLastFlush = std::chrono::seconds(1);  // after the drain deadline, for the final frames
constexpr auto kLastWork = std::chrono::seconds(5);   // of the pool
constexpr auto kServiceSlack = std::chrono::seconds(5);  // what the service manager waits beyond our own limits
constexpr auto kTellService = std::chrono::seconds(1);   // not more often: it may make us wait

void show_warnings(const Effective& effective) {
  for (const std::string& warning : effective.config.warnings) log::warn("config", "{}", warning);
}

class Daemon {
 public:
  explicit Daemon(DaemonOptions options)
      : options_(std::move(options)), signals_(io_, SIGTERM, SIGINT), reload_signals_(io_, SIGHUP) {}
  ~Daemon();
  int run();

 private:
  using OnRead = std::function<void(Result<Configuration>)>;

  Status open_log();
  Status bring_up();
  Status start_admin();
  void read_configuration(std::function<Result<Configuration>()> load, OnRead on_read);
  Status serve(Configuration configuration);
  void set_log_filter();
  void load_next(size_t index);
  void on_progress();
  void watch_loading();
  Status choose_transports(Configuration& configuration);
  Status open_inference();
  void fail_start(const Error& error);
  void on_reload_signal();
  void read_again();
  void reload(Configuration fresh);
  void on_signal();
  void drain();
  void drain_if_idle();
  void on_drain_deadline();
  void stop();
  void keep_watchdog_quiet(std::chrono::microseconds interval);

  DaemonOptions options_;  // as given; its keys are wiped once they were read
  os::asio::io_context io_{1};
  std::unique_ptr<ActivityLog> log_;  // its thread posts to io_
  os::Poller poller_{io_};
  os::asio::signal_set signals_, reload_signals_;
  std::vector<os::PassedSocket> passed_sockets_;
  std::optional<gid_t> group_;
  std::optional<os::InstanceLock> lock_;
  EventBus bus_;
  std::set<std::shared_ptr<AdminSession>> admin_sessions_;
  std::unique_ptr<os::Listener> admin_listener_;
  std::unique_ptr<os::WorkerPool> pool_;
  std::optional<Effective> effective_;  // once the config file was read
  std::deque<Transport> transports_;  // of the inference surfaces, in the order in which they are bound
  std::vector<std::unique_ptr<Backend>> backends_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<SessionContext> context_;
  std::vector<std::unique_ptr<os::Listener>> listeners_;
  os::asio::steady_timer loading_watch_{io_}, drain_timer_{io_}, watchdog_timer_{io_};
  std::chrono::steady_clock::time_point last_progress_, told_service_;
  std::shared_ptr<std::atomic<bool>> stopping_ = std::make_shared<std::atomic<bool>>(false);  // read by the pool
  const bool hangs_up_ = os::is_terminal(os::StandardStream::kIn);  // started by hand: SIGHUP says that the terminal is gone
  bool reading_ = false;   // a thread of the pool reads the config file, which may be a pipe
  bool reload_again_ = false;
  bool serving_ = false;   // the inference surfaces are open
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
  os::raise_descriptor_limit();
  auto passed = os::passed_sockets();  // before there is a thread: it changes the environment
  if (auto opened = open_log(); !opened) {
    std::fprintf(stderr, "inferd-daemon: %s\n", opened.error().message.c_str());
    return 1;
  }
  signals_.async_wait([this](const os::ErrorCode& error, int) {
    if (!error) on_signal();
  });
  reload_signals_.async_wait([this](const os::ErrorCode& error, int) {
    if (!error) on_reload_signal();
  });
  if (const auto interval = os::watchdog_interval()) keep_watchdog_quiet(*interval);
  if (passed) passed_sockets_ = std::move(*passed);
  if (auto up = passed ? bring_up() : Status(std::unexpected(passed.error())); !up) fail_start(up.error());
  io_.run();
  os::block_termination_signals();
  // A thread may hang in a pipe that nobody writes to, in a name server or on a disk: it cannot be joined.
  *stopping_ = true;
  if (pool_ && !pool_->finish_within(reading_ ? std::chrono::seconds(0) : kLastWork)) {
    log_->finish();
    os::exit_now(exit_code_);
  }
  return exit_code_;
}

Status Daemon::open_log() {
  const auto on_trouble = [this](std::optional<std::string> trouble) {
    os::asio::post(io_, [this, trouble] { bus_.warn(trouble); });
  };
  auto log = ActivityLog::open({.directory = os::default_log_directory(), .on_trouble = on_trouble});
  if (!log) return std::unexpected(log.error());
  log_ = std::move(*log);
  log::install(log::Filter::parse(std::getenv("INFERD_LOG")), log_.get());
  return {};
}

// Half of the interval: so one ping may be late.
void Daemon::keep_watchdog_quiet(std::chrono::microseconds interval) {
  os::notify_watchdog();
  watchdog_timer_.expires_after(interval / 2);
  watchdog_timer_.async_wait([this, interval](const os::ErrorCode& error) {
    if (!error) keep_watchdog_quiet(interval);
  });
}

Status Daemon::bring_up() {
  if (options_.group) {
    auto id = os::group_id(*options_.group);
    if (!id) return std::unexpected(id.error());
    group_ = *id;
  }
  const fs::path runtime = os::runtime_directory();
  if (uses_runtime_directory(options_)) {
    if (auto prepared = os::prepare_runtime_directory(runtime, group_); !prepared) return prepared;
  }
  auto lock = os::InstanceLock::acquire(options_.lock.value_or(runtime / "inferd.lock"));
  if (!lock) return std::unexpected(lock.error());
  lock_ = std::move(*lock);
  if (auto started = start_admin(); !started) return started;
  pool_ = std::make_unique<os::WorkerPool>(kPoolThreads, kPoolQueue);
  PassedSurfaces passed;
  for (const os::PassedSocket& socket : passed_sockets_) passed[socket.name] = !socket.unix_path;
  read_configuration([this, passed] { return load_configuration(options_, passed); },
                     [this](Result<Configuration> configuration) {
                       if (draining_) return;
                       const auto served = configuration ? serve(std::move(*configuration)) : Status(std::unexpected(configuration.error()));
                       if (!served) fail_start(served.error());
                     });
  return {};
}

void Daemon::read_configuration(std::function<Result<Configuration>()> load, OnRead on_read) {
  reading_ = true;
  const auto give = [this, on_read = std::move(on_read)](Result<Configuration> configuration) {
    reading_ = false;
    on_read(std::move(configuration));
  };
  const auto read = [this, load = std::move(load), give] {
    auto configuration = std::make_shared<Result<Configuration>>(load());
    os::asio::post(io_, [give, configuration] { give(std::move(*configuration)); });
  };
  if (!pool_->try_run(read)) give(fail(Code::kInternal, "no worker is free to read the configuration: try again"));
}

Status Daemon::start_admin() {
  const fs::path path = options_.admin_addr.value_or(os::runtime_directory() / "admin.sock");
  Transport transport{.surface = "admin", .passed = os::take_passed(passed_sockets_, "admin"), .unix_path = path, .mode = 0600};
  if (transport.passed) transport.unix_path = transport.passed->unix_path;
  auto listener = open_listener(io_, transport);
  if (!listener) return std::unexpected(listener.error());
  admin_listener_ = std::move(*listener);
  admin_listener_->start([this](os::UniqueFd client) {
    std::make_shared<AdminSession>(poller_, bus_, admin_sessions_, std::move(client))->start();
  });
  return {};
}

// The configuration is known: everything that serves is built, and the backends load.
Status Daemon::serve(Configuration configuration) {
  auto chosen = choose_transports(configuration);
  effective_ = std::move(configuration.effective);
  const DaemonOptions& options = effective_->options;
  set_log_filter();
  show_warnings(*effective_);
  if (!chosen) return chosen;
  if (!passed_sockets_.empty()) {
    return fail(Code::kNotInThisBuild, "the service manager passes the socket \"" + passed_sockets_.front().name +
                                           "\": no surface has that name (admin, v1, v2, embed), disable its .socket unit");
  }
  wipe_secrets(options_);
  wipe_secrets(effective_->options);
  auto backends = make_backends(*effective_, BackendContext{io_, bus_, *pool_, stopping_});
  if (!backends) return std::unexpected(backends.error());
  backends_ = std::move(*backends);
  scheduler_ = std::make_unique<Scheduler>(io_, options.queue_depth);
  context_ = std::make_unique<SessionContext>(io_, poller_, *scheduler_, *log_, *pool_, options.max_buffered_bytes,
                                              std::chrono::seconds(options.write_timeout_secs));
  on_progress();
  bus_.subscribe({[this, warning = bus_.status().warning](const StatusEvent& event) mutable {
                    // A warning that begins or ends is no progress; one that stands is told again with each that is.
                    if (warning == event.warning) return on_progress();
                    warning = event.warning;
                  },
                  [](const Capabilities&) {}});
  watch_loading();
  load_next(0);
  return {};
}

void Daemon::set_log_filter() {
  const auto& filter = effective_->config.log_filter;
  log::set_filter(log::Filter::parse(filter ? filter->c_str() : nullptr));
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
  serving_ = true;
  bus_.publish(StatusEvent{.state = StatusEvent::State::kReady, .phase = {}, .reason = {}});
  os::notify_ready();
  os::notify_status("ready");
  log::info("daemon", "ready: {} waiting places", effective_->options.queue_depth);
}

void Daemon::on_progress() {
  last_progress_ = std::chrono::steady_clock::now();
  if (serving_ || last_progress_ - told_service_ < kTellService) return;
  told_service_ = last_progress_;
  const auto& phase = bus_.status().phase;
  os::notify_status(phase ? "loading: " + phase->name : "loading");
  os::extend_timeout(std::chrono::seconds(effective_->options.ready_timeout_secs) + kServiceSlack);
}

// The ready timeout is time without progress of loading. A fetch has its own: the next attempt or URL may still do, or another process
// brings the model, which may be one that does not tell how far it is.
void Daemon::watch_loading() {
  const auto limit = std::chrono::seconds(effective_->options.ready_timeout_secs);
  loading_watch_.expires_at(last_progress_ + limit);
  loading_watch_.async_wait([this, limit](const os::ErrorCode& error) {
    if (error || serving_ || draining_) return;
    if (const auto& phase = bus_.status().phase; phase && (phase->name == "download" || phase->name == "checking_local")) on_progress();
    if (std::chrono::steady_clock::now() - last_progress_ < limit) return watch_loading();
    fail_start(Error{Code::kBackendUnavailable, "not ready: loading made no progress for " + std::to_string(limit.count()) + " s"});
  });
}

Status Daemon::choose_transports(Configuration& configuration) {
  std::shared_ptr<const os::SecretText> key;
  if (configuration.tcp_key) key = std::make_shared<const os::SecretText>(std::move(*configuration.tcp_key));
  for (const SurfaceSettings& surface : surfaces(configuration.effective)) {
    auto passed = os::take_passed(passed_sockets_, surface.name);
    if (!surface.on && !passed) continue;
    auto transport = choose_transport(surface, configuration, key, group_, std::move(passed));
    if (!transport) return std::unexpected(transport.error());
    transports_.push_back(std::move(*transport));
  }
  return {};
}

Status Daemon::open_inference() {
  const bool can_embed = std::ranges::any_of(backends_, [](const auto& backend) { return backend->capabilities().embed; });
  for (Transport& transport : transports_) {
    if (transport.surface == "embed" && !can_embed && !transport.passed) {  // a passed socket would take clients and never answer
      log::warn("daemon", "no backend makes embeddings: the embed surface is not served");
      continue;
    }
    const SessionKind& kind = transport.surface == "v2" ? V2Session::kKind : transport.surface == "embed" ? EmbedSession::kKind : V1Session::kKind;
    auto listener = open_listener(io_, transport);
    if (!listener) return std::unexpected(listener.error());
    listeners_.push_back(std::move(*listener));
    listeners_.back()->start([this, &transport, &kind](os::UniqueFd client) { accept_connection(*context_, std::move(client), transport, kind); });
  }
  return {};
}

void Daemon::fail_start(const Error& error) {
  log::error("daemon", "start failed: {}", error.message);
  os::notify_status("start failed: " + error.message);
  bus_.publish(StatusEvent{.state = StatusEvent::State::kError, .phase = {}, .reason = error.message});
  exit_code_ = 1;
  drain_timer_.expires_after(kLastWord);
  drain_timer_.async_wait([this](const os::ErrorCode&) { stop(); });
}

void Daemon::on_reload_signal() {
  reload_signals_.async_wait([this](const os::ErrorCode& error, int) {
    if (!error) on_reload_signal();
  });
  if (hangs_up_) {
    log::info("daemon", "the terminal is gone");
    return drain();
  }
  if (!serving_ || draining_) return log::warn("config", "SIGHUP: not while the daemon starts or ends");
  if (reading_) {
    reload_again_ = true;  // what it reads may be older than what the signal is about
    return;
  }
  read_again();
}

void Daemon::read_again() {
  os::notify_reloading();
  read_configuration([this] { return load_configuration_again(options_, *effective_); },
                     [this](Result<Configuration> fresh) {
                       if (fresh) {
                         reload(std::move(*fresh));
                       } else {
                         log::error("config", "SIGHUP: {}: everything stays as it is", fresh.error().message);
                       }
                       os::notify_ready();
                       if (std::exchange(reload_again_, false)) read_again();
                     });
}

void Daemon::reload(Configuration fresh) {
  show_warnings(fresh.effective);
  if (fresh.tcp_key) {
    const auto key = std::make_shared<const os::SecretText>(std::move(*fresh.tcp_key));
    for (Transport& transport : transports_) {
      if (transport.is_tcp()) transport.key = key;
    }
  }
  const ReloadPlan plan = compare(*effective_, fresh.effective);
  effective_->config.limits = plan.limits;
  effective_->options.drain_timeout_secs = plan.limits.drain_timeout_secs;
  scheduler_->set_waiting_places(plan.limits.queue_depth);
  context_->max_buffered_bytes = plan.limits.max_buffered_bytes;
  context_->write_timeout = std::chrono::seconds(plan.limits.write_timeout_secs);
  effective_->config.log_filter = plan.log_filter;
  set_log_filter();
  log::info("config", "SIGHUP: limits, log filter and key files were read again");
  for (const std::string& path : plan.needs_restart) log::warn("config", "SIGHUP: {} has changed: restart the daemon for it", path);
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
  os::notify_stopping();
  for (const auto& listener : listeners_) listener->close();
  loading_watch_.cancel();
  bus_.publish(StatusEvent{.state = StatusEvent::State::kDraining, .phase = {}, .reason = {}});
  if (!context_) return stop();
  const uint64_t seconds = effective_->options.drain_timeout_secs;
  log::info("daemon", "draining for at most {} s", seconds);
  os::extend_timeout(std::chrono::seconds(seconds) + kLastFlush + kServiceSlack);
  context_->draining = true;
  context_->on_idle = [this] { os::asio::post(io_, [this] { drain_if_idle(); }); };
  drain_timer_.expires_after(std::chrono::seconds(seconds));
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

int run_daemon(DaemonOptions options) { return Daemon(std::move(options)).run(); }

}  // namespace inferd
