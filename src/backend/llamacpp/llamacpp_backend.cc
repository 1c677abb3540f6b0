#include "backend/llamacpp/llamacpp_backend.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "base/utf8.h"

namespace inferd {
namespace {

// malloc asks for huge pages: the KV cache (hundreds of MiB, cleared when it is made) is then ready in a third of the time.
constexpr const char* kHugePages = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1";
constexpr int kDeathsBeforeGivingUp = 5;  // without a token served between
constexpr auto kFirstBackOff = std::chrono::milliseconds(200);
constexpr auto kLongestBackOff = std::chrono::milliseconds(30'000);
constexpr auto kLongestWatchInterval = std::chrono::milliseconds(1000);
constexpr auto kLongestPreparation = std::chrono::seconds(20);
constexpr int kTimesPredicted = 20;  // a step may take so many times what was predicted
constexpr auto kLongestWaitToRunAlone = std::chrono::seconds(60);
constexpr size_t kLongestEscape = 6;       // bytes of a JSON text that may stand for one
constexpr size_t kMessagesPerWakeUp = 64;  // then others get their turn

size_t text_bytes(const std::vector<Block>& blocks) {
  size_t bytes = 0;
  for (const Block& block : blocks) {
    if (const auto* text = std::get_if<TextBlock>(&block.held)) bytes += text->text.size();
    // JSON is rendered anew: an escape of six bytes may become one.
    if (const auto* use = std::get_if<ToolUseBlock>(&block.held)) bytes += (use->name.size() + use->input.size()) / kLongestEscape;
    if (const auto* result = std::get_if<ToolResultBlock>(&block.held)) bytes += text_bytes(result->content);
  }
  return bytes;
}

// Each takes a token at least, whatever is in it.
size_t others_than_text(const std::vector<Block>& blocks) {
  return static_cast<size_t>(std::ranges::count_if(blocks, [](const Block& block) { return !std::holds_alternative<TextBlock>(block.held); }));
}

Error refused_for_death() {
  return Error{Code::kInvalidRequest, "the engine ended three times while it computed this request, the last time alone: it is refused for ten minutes"};
}

os::UniqueFd duplicate(int fd) { return os::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

}  // namespace

// What the scheduler holds. The request itself is the backend's until the engine has let go of it.
class LlamacppBackend::Handle final : public Generation {
 public:
  Handle(LlamacppBackend& backend, uint64_t id) : backend_(backend), id_(id) {}

  void start(bool promoted) override {
    const auto at = backend_.requests_.find(id_);
    if (at == backend_.requests_.end() || at->second.wanted) return;
    at->second.wanted = true;
    at->second.promoted = promoted;
    if (at->second.sent) backend_.send_start(id_, at->second);
  }

  void pause() override {
    const auto at = backend_.requests_.find(id_);
    if (at == backend_.requests_.end() || !at->second.wanted) return;
    Request& request = at->second;
    request.wanted = false;
    if (!request.has_text) request.started = false;  // nobody has seen anything of it: it waits like the others
    if (request.sent && !std::exchange(request.held, false)) backend_.send_or_kill(engine_wire::Pause{id_});
    backend_.send_what_may_go();
  }

  void cancel() override {
    const auto at = backend_.requests_.find(id_);
    if (at == backend_.requests_.end()) return;
    Request& request = at->second;
    request.cancelled = true;
    if (request.sent) return backend_.send_or_kill(engine_wire::Cancel{id_});
    const auto sink = request.sink;
    backend_.end_request(id_);
    sink->removed();
  }

 private:
  LlamacppBackend& backend_;
  const uint64_t id_;
};

LlamacppBackend::Process::Process(os::asio::io_context& io, os::ChildProcess started, os::UniqueFd channel_fd, os::UniqueFd ended_fd,
                                  os::UniqueFd errors_fd)
    : child(std::move(started)), channel(io, channel_fd.release()), ended(io, ended_fd.release()), errors(io, errors_fd.release()) {}

LlamacppBackend::LlamacppBackend(os::asio::io_context& io, EventBus& bus, Options options)
    : io_(io),
      bus_(bus),
      options_(std::move(options)),
      embeds_([this](const engine_wire::ToEngine& message) { return send(message); },
              [this](const engine_wire::ToEngine& message) { send_or_kill(message); }),
      restart_timer_(io),
      watch_timer_(io) {
  capabilities_.backend = "llamacpp";
  capabilities_.name = options_.name;
}

LlamacppBackend::~LlamacppBackend() { *alive_ = false; }

void LlamacppBackend::publish_phase(const std::string& phase, std::map<std::string, Phase::Value> fields) {
  const auto state = loaded_once_ ? StatusEvent::State::kRestarting : StatusEvent::State::kLoadingModel;
  bus_.publish(StatusEvent{.state = state, .phase = Phase{phase, std::move(fields)}, .reason = {}});
}

// The engine starts and proves its CPU variant while the file is hashed; the model goes to it when both are done.
void LlamacppBackend::load(std::function<void(Status)> on_loaded) {
  on_loaded_ = std::move(on_loaded);
  publish_phase("checking_local", {{"path", options_.model_path}});
  if (auto started = start_engine(); !started) return std::exchange(on_loaded_, nullptr)(std::move(started));
  open_file(options_.open_model, model_, [this] {
    if (!options_.open_projector) return maybe_load();
    open_file(options_.open_projector, projector_, [this] { maybe_load(); });
  });
}

void LlamacppBackend::open_file(const OpenModel& open, os::UniqueFd& into, std::function<void()> then) {
  open([this, &into, then = std::move(then), alive = alive_](Result<os::UniqueFd> file) {
    if (!*alive || !on_loaded_) return;
    if (!file) return std::exchange(on_loaded_, nullptr)(std::unexpected(file.error()));
    into = std::move(*file);
    then();
  });
}

Status LlamacppBackend::start_engine() {
  auto sockets = os::packet_socket_pair();
  if (!sockets) return std::unexpected(sockets.error());
  std::vector<std::string> arguments = options_.engine_arguments;
  for (const std::string& variant : bad_variants_) {
    arguments.insert(arguments.end(), {"--skip-variant", variant});
  }
  if (!good_variant_.empty()) arguments.insert(arguments.end(), {"--variant", good_variant_});
  auto child = os::ChildProcess::start(options_.engine_program, arguments, {kHugePages}, sockets->second.get());
  if (!child) return std::unexpected(child.error());
  ::fcntl(sockets->first.get(), F_SETFL, O_NONBLOCK);
  auto ended = duplicate(child->pidfd());
  auto errors = duplicate(child->stderr_fd());
  process_ = std::make_shared<Process>(io_, std::move(*child), std::move(sockets->first), std::move(ended), std::move(errors));
  state_ = State::kStarting;
  wait_for_messages();
  wait_for_errors();
  wait_for_end();
  return {};
}

void LlamacppBackend::maybe_load() {
  if (state_ != State::kStarting || !process_->proven || !model_ || (options_.open_projector && !projector_)) return;
  state_ = State::kLoading;
  publish_phase("mmap", {{"path", options_.model_path}});
  if (options_.n_ctx != 0) publish_phase("kv_cache", {{"n_ctx", uint64_t{options_.n_ctx}}});
  const auto long_step = std::chrono::milliseconds(options_.step_timeout) / kTimesPredicted;
  const engine_wire::Load load{.n_ctx = options_.n_ctx,
                               .sequences = options_.sequences,
                               .kv_cells = options_.kv_cells,
                               .threads = options_.threads,
                               .host_cache_bytes = options_.host_cache_bytes,
                               .long_step_ms = static_cast<uint32_t>(long_step.count()),
                               .embed = options_.embed,
                               .embed_pooling = options_.embed_pooling,
                               .embed_n_ctx = options_.embed_n_ctx,
                               .has_turnstile = options_.turnstile != nullptr,
                               .has_projector = static_cast<bool>(options_.open_projector),
                               .image_max_tokens = options_.image_max_tokens};
  std::vector<int> descriptors = {model_.get()};
  if (options_.turnstile) descriptors.push_back(options_.turnstile->get());
  if (projector_) descriptors.push_back(projector_.get());
  if (!send(load, descriptors)) process_->child.kill();
}

void LlamacppBackend::send_or_kill(const engine_wire::ToEngine& message) {
  if (!send(message) && process_) process_->child.kill();  // without this message the two would disagree for ever
}

bool LlamacppBackend::send(const engine_wire::ToEngine& message, std::span<const int> descriptors) {
  if (!process_) return true;  // its end is being handled
  std::string bytes = engine_wire::encode(message);
  if (process_->outgoing.empty()) {
    const auto sent = os::send_packet(process_->channel.native_handle(), bytes, descriptors);
    if (!sent) log::error("engine", "{}", sent.error().message);
    if (!sent || *sent != os::PacketState::kWouldBlock) return sent.has_value();  // a closed channel: its end is on its way
  }
  // Descriptors go with the first message of a process only, when the buffer is empty.
  process_->outgoing.push_back(std::move(bytes));
  send_outgoing();
  return true;
}

void LlamacppBackend::send_outgoing() {
  if (process_->sending) return;
  process_->sending = true;
  process_->channel.async_wait(os::asio::posix::stream_descriptor::wait_write, [this, alive = alive_, process = process_](const os::ErrorCode& error) {
    process->sending = false;
    if (error || !*alive || process != process_) return;
    while (!process->outgoing.empty()) {
      const auto sent = os::send_packet(process->channel.native_handle(), process->outgoing.front(), {});
      if (sent && *sent == os::PacketState::kWouldBlock) return send_outgoing();
      if (!sent) {
        log::error("engine", "{}", sent.error().message);
        return process->child.kill();
      }
      process->outgoing.pop_front();
    }
  });
}

void LlamacppBackend::wait_for_messages() {
  process_->channel.async_wait(os::asio::posix::stream_descriptor::wait_read, [this, alive = alive_, process = process_](const os::ErrorCode& error) {
    if (!error && *alive && process == process_) on_messages();
  });
}

void LlamacppBackend::on_messages() {
  const auto process = process_;
  for (size_t i = 0; i < kMessagesPerWakeUp; ++i) {
    const auto received = os::receive_packet(process->channel.native_handle(), packet_);
    if (!received) {
      log::error("engine", "{}", received.error().message);
      return process->child.kill();
    }
    if (*received == os::PacketState::kClosed) return;  // its end comes through the pidfd
    if (*received == os::PacketState::kWouldBlock) break;
    auto message = engine_wire::decode_from_engine(packet_.bytes);
    if (!message) {
      log::error("engine", "{}", message.error().message);
      return process->child.kill();
    }
    std::visit([this](auto& held) { on(held); }, *message);
    if (process != process_) return;
  }
  wait_for_messages();
}

void LlamacppBackend::wait_for_errors() {
  process_->errors.async_wait(os::asio::posix::stream_descriptor::wait_read, [this, alive = alive_, process = process_](const os::ErrorCode& error) {
    if (error || !*alive || process != process_) return;
    if (read_errors(*process)) wait_for_errors();
  });
}

// Logs what the engine wrote to its standard error. False at the end of it.
bool LlamacppBackend::read_errors(Process& process) {
  for (;;) {
    std::array<char, 4096> buffer;
    const ssize_t n = ::read(process.errors.native_handle(), buffer.data(), buffer.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    process.partial_line.append(buffer.data(), static_cast<size_t>(n));
    for (size_t end; (end = process.partial_line.find('\n')) != std::string::npos;) {
      const std::string line = to_valid_utf8(process.partial_line.substr(0, end));
      process.partial_line.erase(0, end + 1);
      if (line.empty()) continue;
      process.last_error_line = line;
      log::warn("engine", "{}", line);
    }
    if (process.partial_line.size() > 16 * 1024) process.partial_line.clear();
  }
}

void LlamacppBackend::wait_for_end() {
  process_->ended.async_wait(os::asio::posix::stream_descriptor::wait_read, [this, alive = alive_, process = process_](const os::ErrorCode& error) {
    if (!error && *alive && process == process_) on_engine_ended();
  });
}

void LlamacppBackend::on(const engine_wire::Variant& message) {
  process_->variant = message.name;
  log::info("engine", "process {} tries CPU variant {}", process_->child.pid(), message.name);
}

void LlamacppBackend::on(const engine_wire::Proven&) {
  process_->proven = true;
  good_variant_ = process_->variant;
  maybe_load();
}

void LlamacppBackend::on(const engine_wire::Loading& message) {
  publish_phase("mmap", {{"path", options_.model_path}, {"progress", uint64_t{message.percent}}});
}

void LlamacppBackend::on(const engine_wire::Loaded& message) {
  log::info("engine", "{} is loaded: n_ctx {}, {} sequences, {} KV cells, {} threads, CPU variant {}", message.model_name, message.n_ctx,
            message.sequences, message.kv_cells, options_.threads, process_->variant);
  capabilities_.text = message.text;
  capabilities_.v2 = message.text;
  capabilities_.tools = message.tools;
  capabilities_.thinking = message.thinking;
  capabilities_.vision = message.vision;
  capabilities_.audio = message.audio;
  capabilities_.embed = message.embed_width > 0;
  capabilities_.embed_width = message.embed_width;
  if (message.text && message.n_ctx > message.n_ctx_train) {
    log::warn("engine", "n_ctx {} is beyond the {} tokens that the model was trained with: long answers may be poor", message.n_ctx,
              message.n_ctx_train);
  }
  if (options_.n_ctx == 0) publish_phase("kv_cache", {{"n_ctx", uint64_t{message.n_ctx}}});
  state_ = State::kRunning;
  n_ctx_ = message.n_ctx;
  longest_token_ = message.longest_token;
  step_limit_ = options_.step_timeout;
  send_what_may_go();
  embeds_.engine_ready(message.model_name, message.embed_width);
  watch();
  if (loaded_once_) {
    bus_.publish(StatusEvent{.state = StatusEvent::State::kReady, .phase = {}, .reason = {}});
  }
  loaded_once_ = true;
  if (on_loaded_) std::exchange(on_loaded_, nullptr)({});
}

void LlamacppBackend::on(const engine_wire::Failed& message) { process_->failure = message.message; }

void LlamacppBackend::on(const engine_wire::Prepared& message) {
  const auto at = requests_.find(message.id);
  if (at == requests_.end()) {
    return embeds_.on(message);
  }
  if (at->second.prepared) return;
  at->second.prepared = true;
  const auto sink = at->second.sink;
  if (!at->second.cancelled) sink->prepared(Usage{message.prompt_tokens, 0, 0});
}

void LlamacppBackend::on(const engine_wire::Refused& message) {
  const auto at = requests_.find(message.id);
  if (at == requests_.end()) {
    if (embeds_.on(message)) let_suspects_run();
    return;
  }
  const auto sink = at->second.sink;
  const bool cancelled = at->second.cancelled;
  end_request(message.id);
  if (cancelled) {
    sink->removed();
  } else {
    sink->failed(Error{message.code, message.message});
  }
}

void LlamacppBackend::on(const engine_wire::LongStep& message) {
  step_limit_ = std::max<std::chrono::milliseconds>(options_.step_timeout, std::chrono::milliseconds(message.predicted_ms) * kTimesPredicted);
}

void LlamacppBackend::on(const engine_wire::Warning& message) { log::warn("engine", "{}", message.message); }

void LlamacppBackend::on(const engine_wire::Step& message) {
  last_step_ = std::chrono::steady_clock::now();
  step_limit_ = options_.step_timeout;
  for (const auto& entry : message.entries) {
    const auto at = requests_.find(entry.id);
    if (at == requests_.end()) continue;
    Request& request = at->second;
    if (entry.started) request.started = true;
    if (entry.tokens > 0) deaths_without_token_ = 0;
    const auto sink = request.sink;
    if (entry.prompt_done > 0 && !request.cancelled) sink->prefilled(entry.prompt_done, entry.computed);
    if (entry.stop_reason == StopReason::kError) {
      const bool cancelled = request.cancelled;
      end_request(entry.id);
      if (!cancelled) sink->failed(Error{entry.error_code, entry.message});
      if (cancelled) sink->removed();
      continue;
    }
    if (!entry.pieces.empty()) request.has_text = request.started = true;
    if ((!entry.pieces.empty() || entry.tokens > 0) && !request.cancelled) sink->answer(entry.pieces, entry.tokens);
    if (!entry.stop_reason) continue;
    const auto again = requests_.find(entry.id);  // the sink may have cancelled it
    const bool cancelled = again == requests_.end() || again->second.cancelled;
    end_request(entry.id);
    if (cancelled) {
      sink->removed();
    } else {
      sink->done(Completion{*entry.stop_reason, entry.usage, entry.tool_choice_unsatisfied});
    }
  }
}

void LlamacppBackend::on(const engine_wire::Removed& message) {
  const auto at = requests_.find(message.id);
  if (at == requests_.end()) {  // or had ended before the cancel arrived
    if (embeds_.on(message)) let_suspects_run();
    return;
  }
  const auto sink = at->second.sink;
  end_request(message.id);
  sink->removed();
}

void LlamacppBackend::on(engine_wire::Embedded& message) {
  deaths_without_token_ = 0;
  embeds_.on(message);
  let_suspects_run();
}

void LlamacppBackend::end_request(uint64_t id) {
  requests_.erase(id);
  if (alone_ == id) alone_ = 0;
  let_suspects_run();
}

// One of them may have waited for the others to end.
void LlamacppBackend::let_suspects_run() {
  if (!suspects_.empty()) os::asio::post(io_, [this, alive = alive_] { if (*alive) send_what_may_go(); });
}

// An engine that does not come back from a step or a preparation is ended: nobody's cancel would be heard.
void LlamacppBackend::watch() {
  watch_timer_.expires_after(std::min<std::chrono::milliseconds>(kLongestWatchInterval, std::chrono::milliseconds(options_.step_timeout) / 8));
  watch_timer_.async_wait([this, alive = alive_](const os::ErrorCode& error) {
    if (error || !*alive || state_ != State::kRunning || !process_) return;
    const auto now = std::chrono::steady_clock::now();
    bool running = embeds_.computing();
    for (auto& [id, request] : requests_) {
      running = running || request.wanted;
      if (request.alone && !request.sent && now - request.since > kLongestWaitToRunAlone) {
        const auto sink = request.sink;
        end_request(id);
        sink->failed(Error{Code::kBackendUnavailable, "engines ended while this request was there, so it has to run alone, and the engine was never idle"});
        return watch();
      }
      if (!request.sent || request.prepared) continue;
      if (now - request.prepare_since > options_.step_timeout && process_->child.is_stopped()) {
        log::error("engine", "it has been stopped: it is ended");
        killed_by_watchdog_ = true;
        return process_->child.kill();
      }
      if (now - request.prepare_since < kLongestPreparation) continue;
      log::error("engine", "a request could not be prepared in {} s: the engine is ended", kLongestPreparation.count());
      const auto sink = request.sink;
      const bool cancelled = request.cancelled;
      end_request(id);
      process_->child.kill();
      if (cancelled) return sink->removed();
      return sink->failed(Error{Code::kInvalidRequest, "the request could not be prepared within " +
                                                           std::to_string(kLongestPreparation.count()) + " s (its grammar or length)"});
    }
    if (!running) last_step_ = now;
    if (now - last_step_ > step_limit_) {
      log::error("engine", "no step has ended for {} ms: the engine is ended", step_limit_.count());
      killed_by_watchdog_ = true;
      return process_->child.kill();
    }
    watch();
  });
}

std::unique_ptr<Generation> LlamacppBackend::prepare(std::shared_ptr<const GenerateRequest> request, std::shared_ptr<TokenSink> sink) {
  const uint64_t id = next_id_++;
  if (const auto error = too_long(*request)) {
    sink->failed(*error);
    return std::make_unique<Handle>(*this, id);
  }
  Request entry;
  entry.request = std::move(request);
  entry.since = std::chrono::steady_clock::now();
  if (!suspects_.empty()) {
    const auto verdict = suspects_.verdict(suspects_.hash_of(content_of(entry)), entry.since);
    if (verdict == Suspects::Verdict::kRefused) {
      sink->failed(refused_for_death());
      return std::make_unique<Handle>(*this, id);
    }
    entry.alone = verdict == Suspects::Verdict::kAlone;
  }
  entry.sink = std::move(sink);
  requests_[id] = std::move(entry);
  send_what_may_go();
  return std::make_unique<Handle>(*this, id);
}

std::unique_ptr<Generation> LlamacppBackend::embed(std::shared_ptr<const EmbedRequest> request, std::shared_ptr<EmbedSink> sink) {
  const uint64_t id = next_id_++;
  if (!suspects_.empty()) {
    const auto verdict = suspects_.verdict(suspects_.hash_of(EmbedRequests::content_of(*request)), std::chrono::steady_clock::now());
    if (verdict != Suspects::Verdict::kFine) {  // nobody needs texts embedded that ended two engines: they do not run alone
      sink->failed(Error{Code::kInvalidRequest, "engines ended while they computed these texts: they are refused for ten minutes"});
      return std::make_unique<Handle>(*this, id);
    }
  }
  return embeds_.add(id, std::move(request), std::move(sink));
}

// Everything that the engine computes from, nothing of who asks.
std::string LlamacppBackend::content_of(const Request& request) {
  engine_wire::Prepare message{.id = 0, .scope = 0, .request = *request.request};
  message.request.flow = {};
  message.request.priority = Priority::kInteractive;
  return engine_wire::encode(engine_wire::ToEngine(std::move(message)));
}

void LlamacppBackend::send_start(uint64_t id, Request& request) {
  request.held = alone_ != 0 && alone_ != id;
  if (!request.held) send_or_kill(engine_wire::Start{id, request.promoted});
}

// Hands the engine what it may have: everything, unless a suspect runs alone or could.
void LlamacppBackend::send_what_may_go() {
  if (state_ != State::kRunning) return;
  embeds_.hold(!suspects_.empty() && std::ranges::any_of(requests_, [](const auto& each) { return each.second.alone; }));
  std::vector<uint64_t> unsent;
  for (auto& [id, request] : requests_) {
    if (alone_ != 0 && alone_ != id) continue;
    if (!request.sent) unsent.push_back(id);
    if (request.sent && request.held && request.wanted) send_start(id, request);
  }
  for (const uint64_t id : unsent) {
    const auto at = requests_.find(id);
    if (at == requests_.end() || at->second.sent || (alone_ != 0 && alone_ != id)) continue;
    if (at->second.alone) {
      if (embeds_.present() || std::ranges::any_of(requests_, [](const auto& each) { return is_present(each.second); })) continue;
      alone_ = id;
    }
    send_prepare(id, at->second);
  }
}

// A text that cannot fit whatever its tokens are is refused here: tokenising 64 MiB to learn it would take gigabytes.
std::optional<Error> LlamacppBackend::too_long(const GenerateRequest& request) const {
  size_t bytes = 0;
  size_t others = request.messages.size() + request.tools.size();
  for (const Message& message : request.messages) {
    bytes += text_bytes(message.content);
    others += others_than_text(message.content);
  }
  const bool declared = !request.tool_choice || request.tool_choice->mode != ToolChoice::Mode::kNone;
  for (const Tool& tool : request.tools) {
    if (declared) bytes += (tool.name.size() + tool.description.size() + tool.input_schema.size()) / kLongestEscape;
  }
  const size_t at_least = others + bytes / longest_token_;  // a template gives each message a token of its own
  if (n_ctx_ == 0 || at_least < n_ctx_) return std::nullopt;
  return Error{Code::kInvalidRequest,
               "the prompt has at least " + std::to_string(at_least) + " tokens, the context holds " + std::to_string(n_ctx_)};
}

void LlamacppBackend::send_prepare(uint64_t id, Request& request) {
  request.sent = true;
  request.prepare_since = std::chrono::steady_clock::now();
  const uint64_t scope = options_.share_between_users ? 0 : request.request->flow[kFlowUser];
  const engine_wire::Prepare message{.id = id, .scope = scope, .request = *request.request};
  if (!send(message)) {
    const auto sink = request.sink;
    end_request(id);
    return sink->failed(Error{Code::kBackendUnavailable, "the request could not be handed to the engine (out of descriptors or memory)"});
  }
  if (request.wanted) send_start(id, request);
}

void LlamacppBackend::on_engine_ended() {
  const auto process = process_;
  on_messages();  // what it had said before
  read_errors(*process);
  process_ = nullptr;
  state_ = State::kWaitingToRestart;  // what comes in meanwhile waits for the next engine
  watch_timer_.cancel();
  const pid_t pid = process->child.pid();
  const auto end = process->child.reap();
  std::string how = killed_by_watchdog_ ? "stuck, killed" : end.text;
  if (!process->failure.empty()) how = process->failure;
  if (!process->proven && !process->variant.empty() && process->variant != good_variant_) {
    // The machine traps what the CPU announces (AMX under some hypervisors): this variant is not trusted, the next one is tried.
    log::warn("engine", "CPU variant {} does not run on this machine ({}): skipped", process->variant, how);
    bad_variants_.insert(process->variant);
    if (auto started = start_engine(); started) return;
  }
  judge_death(end);
  drop_running_requests();
  embeds_.engine_ended();
  if (!loaded_once_) {
    state_ = State::kFailed;
    if (process->variant.empty() && process->failure.empty()) {
      how = "engine program " + options_.engine_program.string() + " " + how + " before it said anything";
    }
    if (!process->last_error_line.empty() && process->failure.empty()) how += " (" + process->last_error_line + ")";
    if (on_loaded_) std::exchange(on_loaded_, nullptr)(fail(Code::kInternal, "model " + options_.model_path + ": " + how));
    return;
  }
  log::error("engine", "process {} ended: {}", pid, how);
  restart_or_fail(how);
}

// A request may be to blame for these; SIGKILL comes from outside (a person, the system when memory is short).
void LlamacppBackend::judge_death(const os::ChildProcess::End& end) {
  const uint64_t alone = std::exchange(alone_, 0);
  const bool by_request = os::is_crash(end.signal) || std::exchange(killed_by_watchdog_, false);
  if (!by_request) return;
  const auto now = std::chrono::steady_clock::now();
  std::vector<Suspects::Hash> present;
  for (const auto& [id, request] : requests_) {
    if (is_present(request)) present.push_back(suspects_.hash_of(content_of(request)));
  }
  for (const std::string& content : embeds_.contents()) present.push_back(suspects_.hash_of(content));
  suspects_.died(present, alone != 0 && present.size() == 1, now);
  std::vector<uint64_t> refused;
  for (auto& [id, request] : requests_) {
    if (request.started || request.cancelled) continue;  // ends anyway
    const auto verdict = suspects_.verdict(suspects_.hash_of(content_of(request)), now);
    request.alone = verdict == Suspects::Verdict::kAlone;
    if (verdict == Suspects::Verdict::kRefused) refused.push_back(id);
  }
  for (const uint64_t id : refused) {
    const auto sink = requests_[id].sink;
    end_request(id);
    sink->failed(refused_for_death());
  }
}

// Streams that have begun end here; requests that wait stay and go to the next engine.
void LlamacppBackend::drop_running_requests() {
  std::vector<uint64_t> ended;
  for (auto& [id, request] : requests_) {
    if (request.started || request.cancelled) {
      ended.push_back(id);
    } else {
      request.sent = request.held = false;
    }
  }
  for (const uint64_t id : ended) {
    const auto sink = requests_[id].sink;
    const bool cancelled = requests_[id].cancelled;
    end_request(id);
    if (cancelled) {
      sink->removed();
    } else {
      sink->failed(Error{Code::kBackendUnavailable, "the engine stopped; a new one is being started"});
    }
  }
}

void LlamacppBackend::restart_or_fail(const std::string& how) {
  ++deaths_without_token_;
  if (deaths_without_token_ >= kDeathsBeforeGivingUp) {
    return fail_for_good("the engine ended " + std::to_string(deaths_without_token_) + " times without serving a token, last: " + how);
  }
  publish_phase("engine", {{"reason", how}});
  auto wait = std::chrono::milliseconds(0);
  if (deaths_without_token_ > 1) wait = std::min(kLongestBackOff, kFirstBackOff * (1 << (deaths_without_token_ - 2)));
  restart_timer_.expires_after(wait);
  restart_timer_.async_wait([this, alive = alive_](const os::ErrorCode& error) {
    if (error || !*alive) return;
    if (auto started = start_engine(); !started) restart_or_fail(started.error().message);
  });
}

void LlamacppBackend::fail_for_good(const std::string& reason) {
  state_ = State::kFailed;
  log::error("engine", "{}", reason);
  bus_.publish(StatusEvent{.state = StatusEvent::State::kError, .phase = {}, .reason = reason});
  embeds_.fail_all(Error{Code::kBackendUnavailable, reason});
  auto requests = std::exchange(requests_, {});
  for (auto& [id, request] : requests) {
    if (request.cancelled) {
      request.sink->removed();
    } else {
      request.sink->failed(Error{Code::kBackendUnavailable, reason});
    }
  }
}

}  // namespace inferd
