#include "engine/engine_process.h"

#include <fcntl.h>
#include <llama.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/bounded_queue.h"
#include "engine/chat_prompt.h"
#include "engine/cpu_variant.h"
#include "engine/model.h"
#include "engine/llama_decoder.h"
#include "engine/memory_plan.h"
#include "engine/sampler.h"
#include "engine/step_loop.h"
#include "engine_wire/messages.h"
#include "os/memory.h"
#include "os/packet_socket.h"
#include "os/sandbox.h"

namespace inferd::engine {
namespace {

namespace wire = engine_wire;
constexpr size_t kPrepareThreads = 2;
constexpr size_t kPrepareQueue = 4096;            // the daemon bounds the requests that it sends
constexpr size_t kPrepareStack = 64u << 20;       // llama.cpp parses grammars and templates recursively

// Libraries write what they like to standard error, also callers' text (a grammar that cannot be parsed), which must reach no log. So
// standard output and error go nowhere, and only what we choose is written to the daemon's pipe.
int g_diagnostics = -1;
std::atomic<bool> g_serving{false};  // callers' text is in the process

void diagnose(const char* text) {
  [[maybe_unused]] const ssize_t n = ::write(g_diagnostics, text, std::strlen(text));
}

void silence_standard_streams() {
  g_diagnostics = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 4);
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ::dup2(nowhere, STDOUT_FILENO);
  ::dup2(nowhere, STDERR_FILENO);
  ::close(nowhere);
}

// While the model is loaded its errors help the operator.
void loading_log(ggml_log_level level, const char* text, void*) {
  if (level == GGML_LOG_LEVEL_ERROR && !g_serving) diagnose(text);
}

// An assertion's file, line and condition: no caller's text.
void abort_log(const char* text) {
  diagnose(text);
  diagnose("\n");
}

class EngineProcess {
 public:
  EngineProcess(const EngineOptions& options, int channel) : options_(options), channel_(channel) {}

  int run() {
    llama_log_set(&loading_log, nullptr);
    ggml_set_abort_callback(&abort_log);
    available_ = os::available_memory();
    if (auto proven = prove_variant(); !proven) return fail_start(proven.error().message);
    const auto sandbox = os::enter_sandbox(os::sandbox_mode(options_.sandbox));
    if (!sandbox) return fail_start(sandbox.error().message);
    if (!sandbox->missing.empty()) send(wire::Warning{"the engine is not fully confined, the system lacks " + sandbox->missing});
    auto load = receive_load();
    if (!load) return 0;  // the daemon has closed the channel
    if (auto loaded = load_model(*load); !loaded) return fail_start(loaded.error().message);
    g_serving = true;
    for (size_t i = 0; i < kPrepareThreads; ++i) start_thread([this] { prepare_requests(); });
    start_thread([this] { read_messages(); });
    loop_->run();
    return 0;
  }

 private:
  struct LoadRequest {
    wire::Load parameters;
    os::UniqueFd model;
  };

  void send(const wire::FromEngine& message) {
    const std::string bytes = wire::encode(message);
    const std::lock_guard lock(send_mutex_);
    const auto sent = os::send_packet(channel_, bytes, {});
    if (!sent || *sent == os::PacketState::kClosed) ::_exit(0);  // nobody is there to serve
  }

  int fail_start(const std::string& message) {
    send(wire::Failed{message});
    return 1;
  }

  Status prove_variant() {
    auto variant = load_cpu_variant(options_.variants, options_.skip_variants, options_.variant);
    if (!variant) return std::unexpected(variant.error());
    send(wire::Variant{*variant});
    if (*variant == options_.die_in_variant) ::raise(SIGILL);
    if (auto proven = prove_cpu_variant(); !proven) return proven;
    send(wire::Proven{});
    return {};
  }

  std::optional<LoadRequest> receive_load() {
    os::Packet packet;
    const auto received = os::receive_packet(channel_, packet);
    if (!received || *received != os::PacketState::kDone || packet.descriptors.empty()) return std::nullopt;
    auto message = wire::decode_to_engine(packet.bytes);
    if (!message || !std::holds_alternative<wire::Load>(*message)) return std::nullopt;
    return LoadRequest{std::get<wire::Load>(*message), std::move(packet.descriptors.front())};
  }

  Status load_model(LoadRequest& load) {
    llama_backend_init();
    const wire::Load& p = load.parameters;
    const ContextSizes wanted{.n_ctx = p.n_ctx, .sequences = p.sequences, .kv_cells = p.kv_cells, .threads = p.threads};
    const auto plan = plan_memory(load.model.get(), {wanted, p.host_cache_bytes, available_});
    if (!plan) return std::unexpected(plan.error());
    if (!plan->fits()) return fail(Code::kUsage, plan->refusal());
    auto model = Model::load(load.model.get(), [this](unsigned percent) { send(wire::Loading{percent}); });
    if (!model) return std::unexpected(model.error());
    model_ = std::move(*model);
    auto prompt = ChatPrompt::create(*model_);
    if (!prompt) return std::unexpected(prompt.error());
    prompt_ = std::move(*prompt);
    const auto sizes = resolve_sizes(wanted, model_->n_ctx_train());
    if (!sizes) return std::unexpected(sizes.error());
    auto decoder = LlamaDecoder::create(*model_, *sizes);
    if (!decoder) return std::unexpected(decoder.error());
    decoder_ = std::move(*decoder);
    const StepLoop::Options options{.n_ctx = sizes->n_ctx,
                                    .sequences = sizes->sequences,
                                    .sequence_ids = sizes->sequence_ids(),
                                    .kv_cells = sizes->kv_cells,
                                    .host_cache_bytes = p.host_cache_bytes,
                                    .long_step_ms = static_cast<double>(p.long_step_ms)};
    loop_ = std::make_unique<StepLoop>(*decoder_, options,
                                       StepLoop::Sink{.step = [this](wire::Step step) { send(std::move(step)); },
                                                      .removed = [this](uint64_t id) { send(wire::Removed{id}); },
                                                      .long_step = [this](uint32_t ms) { send(wire::LongStep{ms}); }});
    send(wire::Loaded{model_->name(), sizes->n_ctx, sizes->sequences, sizes->kv_cells, model_->n_ctx_train(),
                      static_cast<uint32_t>(model_->longest_token())});
    return {};
  }

  // Detached threads with a large stack: the process ends with _exit or with the step loop, never by joining them.
  static void start_thread(std::function<void()> body) {
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setstacksize(&attributes, kPrepareStack);
    ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    auto* heap_body = new std::function<void()>(std::move(body));
    pthread_t thread;
    const int code = ::pthread_create(
        &thread, &attributes,
        [](void* data) -> void* {
          const std::unique_ptr<std::function<void()>> owned(static_cast<std::function<void()>*>(data));
          (*owned)();
          return nullptr;
        },
        heap_body);
    ::pthread_attr_destroy(&attributes);
    if (code != 0) {
      diagnose("no thread can be started\n");
      ::_exit(1);
    }
  }

  void read_messages() {
    os::Packet packet;
    for (;;) {
      const auto received = os::receive_packet(channel_, packet);
      if (!received || *received != os::PacketState::kDone) ::_exit(0);  // the daemon has gone
      auto message = wire::decode_to_engine(packet.bytes);
      if (!message) {
        diagnose((message.error().message + "\n").c_str());
        ::_exit(1);
      }
      std::visit([this](auto& held) { on(held); }, *message);
    }
  }

  void on(wire::Load&) {}  // once, before the loop
  void on(wire::Prepare& message) {
    {
      const std::lock_guard lock(requests_mutex_);
      preparing_.insert(message.id);
    }
    const uint64_t id = message.id;
    if (!prepare_queue_.try_push(std::move(message))) refuse(id, Error{Code::kQueueFull, "queue full"});
  }
  void on(wire::Start& message) {
    const std::lock_guard lock(requests_mutex_);
    const auto at = prepared_.find(message.id);
    if (at != prepared_.end()) {
      if (message.promoted) at->second.batch = false;
      loop_->start(std::move(at->second));
      prepared_.erase(at);
    } else if (preparing_.contains(message.id)) {
      start_when_prepared_[message.id] = message.promoted;
    } else {
      loop_->resume(message.id, message.promoted);
    }
  }
  void on(wire::Pause& message) {
    const std::lock_guard lock(requests_mutex_);
    if (start_when_prepared_.erase(message.id) == 0) loop_->pause(message.id);
  }
  void on(wire::Cancel& message) {
    bool here;
    {
      const std::lock_guard lock(requests_mutex_);
      here = preparing_.erase(message.id) + prepared_.erase(message.id) > 0;
      start_when_prepared_.erase(message.id);
    }
    if (here || !loop_->cancel(message.id)) send(wire::Removed{message.id});  // ended before: the daemon knows by now or will
  }

  void refuse(uint64_t id, const Error& error) {
    {
      const std::lock_guard lock(requests_mutex_);
      start_when_prepared_.erase(id);
      if (preparing_.erase(id) == 0) return;  // cancelled meanwhile
    }
    send(wire::Refused{id, error.code, error.message});
  }

  void prepare_requests() {
    while (auto message = prepare_queue_.pop()) {
      {
        const std::lock_guard lock(requests_mutex_);
        if (!preparing_.contains(message->id)) continue;
      }
      auto request = prepare(*message);
      if (!request) {
        refuse(message->id, request.error());
        continue;
      }
      const auto tokens = static_cast<uint32_t>(request->prompt.size());
      // Under the lock from one place to the next: a cancel finds it in one of them.
      const std::lock_guard lock(requests_mutex_);
      if (preparing_.erase(message->id) == 0) continue;
      send(wire::Prepared{message->id, tokens});
      if (const auto start = start_when_prepared_.extract(message->id)) {
        if (start.mapped()) request->batch = false;
        loop_->start(std::move(*request));
      } else {
        prepared_.emplace(message->id, std::move(*request));
      }
    }
  }

  Result<PreparedRequest> prepare(const wire::Prepare& message) const {
    const uint32_t n_ctx = loop_->options().n_ctx;
    auto sampler = Sampler::create(*model_, message.request.sampling, message.request.grammar);
    if (!sampler) return std::unexpected(sampler.error());
    auto prompt = prompt_->tokens(message.request.messages);
    if (!prompt) return std::unexpected(prompt.error());
    if (prompt->size() >= n_ctx) {
      return fail(Code::kInvalidRequest, "the prompt has " + std::to_string(prompt->size()) + " tokens, the context holds " + std::to_string(n_ctx));
    }
    if (prompt->empty()) return fail(Code::kInvalidRequest, "the prompt has no tokens");
    return PreparedRequest{.id = message.id,
                           .prompt = std::move(*prompt),
                           .max_tokens = message.request.max_tokens,
                           .scope = message.scope,
                           .flow = message.request.flow,
                           .batch = message.request.priority == Priority::kBatch,
                           .sample = [sampler = std::move(*sampler)](const float* logits) { return sampler->sample(logits); },
                           .text = TextStream(message.request.stop)};
  }

  const EngineOptions options_;
  const int channel_;
  os::MemoryAvailable available_;
  std::mutex send_mutex_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<ChatPrompt> prompt_;
  std::unique_ptr<LlamaDecoder> decoder_;
  std::unique_ptr<StepLoop> loop_;
  BoundedQueue<wire::Prepare> prepare_queue_{kPrepareQueue};

  std::mutex requests_mutex_;
  // guarded by requests_mutex_:
  std::set<uint64_t> preparing_;
  std::map<uint64_t, bool> start_when_prepared_;  // with `promoted`
  std::unordered_map<uint64_t, PreparedRequest> prepared_;
};

}  // namespace

int run_engine(const EngineOptions& options, int channel) {
  ::setenv("GGML_NO_BACKTRACE", "1", 1);  // ggml would fork a debugger when it asserts
  ::signal(SIGPIPE, SIG_IGN);
  silence_standard_streams();
  const int code = EngineProcess(options, channel).run();
  ::_exit(code);  // the other threads still use what a return would destroy
}

}  // namespace inferd::engine
