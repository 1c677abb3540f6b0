#include "engine/engine_process.h"

#include <fcntl.h>
#include <llama.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
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
#include "engine/compute_threads.h"
#include "engine/cpu_variant.h"
#include "engine/embedder.h"
#include "engine/llama_decoder.h"
#include "engine/llama_embed_model.h"
#include "engine/media.h"
#include "engine/memory_plan.h"
#include "engine/model.h"
#include "engine/sampler.h"
#include "engine/step_loop.h"
#include "engine_wire/messages.h"
#include "os/memory.h"
#include "os/packet_socket.h"
#include "os/sandbox.h"
#include "os/turnstile.h"

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
    if (embedder_) start_thread([this] { prepare_embeddings(); });
    start_thread([this] { read_messages(); });
    if (loop_) loop_->run();
    while (embedder_) {
      wait_for_embeddings();
      embed_one();
    }
    return 0;
  }

 private:
  struct LoadRequest {
    wire::Load parameters;
    os::UniqueFd model, turnstile, projector;  // the latter two perhaps
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
    LoadRequest load{std::get<wire::Load>(*message), {}, {}, {}};
    const wire::Load& p = load.parameters;
    if (packet.descriptors.size() != 1U + p.has_turnstile + p.has_projector) return std::nullopt;
    load.model = std::move(packet.descriptors.front());
    if (p.has_turnstile) load.turnstile = std::move(packet.descriptors[1]);
    if (p.has_projector) load.projector = std::move(packet.descriptors.back());
    return load;
  }

  Status load_model(LoadRequest& load) {
    llama_backend_init();
    const wire::Load& p = load.parameters;
    const ContextSizes wanted{.n_ctx = p.n_ctx, .sequences = p.sequences, .kv_cells = p.kv_cells, .threads = p.threads};
    const EmbedSizes embed{.pooling = p.embed_pooling, .n_ctx = p.embed_n_ctx, .threads = p.threads};
    uint64_t projector_bytes = 0;
    if (p.has_projector) {
      const auto needed = MediaProjector::memory_needed(load.projector.get(), p.image_max_tokens);
      if (!needed) return std::unexpected(needed.error());
      projector_bytes = *needed;
    }
    const auto plan = plan_memory(
        load.model.get(), {wanted, p.host_cache_bytes, available_, p.embed ? std::optional(embed) : std::nullopt, projector_bytes});
    if (!plan) return std::unexpected(plan.error());
    if (!plan->fits()) return fail(Code::kUsage, plan->refusal());
    auto model = Model::load(load.model.get(), [this](unsigned percent) { send(wire::Loading{percent}); });
    if (!model) return std::unexpected(model.error());
    model_ = std::move(*model);
    std::unique_ptr<os::Turnstile> turnstile;
    if (p.has_turnstile) {
      auto joined = os::Turnstile::join(load.turnstile.get());
      if (!joined) return std::unexpected(joined.error());
      turnstile = std::move(*joined);
    }
    threads_ = std::make_unique<ComputeThreads>(p.threads, std::move(turnstile));
    if (p.embed) {
      if (auto made = make_embedder(embed, p.long_step_ms); !made) return made;
    }
    wire::Loaded loaded{.model_name = model_->name(), .n_ctx_train = model_->n_ctx_train(), .longest_token = static_cast<uint32_t>(model_->longest_token())};
    if (embedder_) {
      loaded.embed_width = embedder_->width();
      loaded.embed_n_ctx = embedder_->n_ctx();
    }
    loaded.text = !is_encoder(model_->get());
    if (loaded.text) {
      if (auto made = make_loop(load, wanted, loaded); !made) return made;
    }
    send(std::move(loaded));
    return {};
  }

  Status make_loop(const LoadRequest& load, const ContextSizes& wanted, wire::Loaded& loaded) {
    const wire::Load& p = load.parameters;
    const auto sizes = resolve_sizes(wanted, model_->n_ctx_train());
    if (!sizes) return std::unexpected(sizes.error());
    if (p.has_projector) {
      const MediaProjector::Options options{
          .threads = p.threads, .image_max_tokens = p.image_max_tokens, .batch_tokens = std::min(kBatchTokens, sizes->kv_cells)};
      auto projector = MediaProjector::open(load.projector.get(), *model_, options);
      if (!projector) return std::unexpected(projector.error());
      projector_ = std::move(*projector);
      if (!projector_->warning().empty()) send(wire::Warning{projector_->warning()});
      loaded.vision = projector_->vision();
      loaded.audio = projector_->audio();
    }
    ChatPrompt::Media media;
    if (projector_) media = [this](const Attachment& attachment) { return projector_->prepare(attachment); };
    auto prompt = ChatPrompt::create(*model_, std::move(media));
    if (!prompt) return std::unexpected(prompt.error());
    prompt_ = std::move(*prompt);
    auto decoder = LlamaDecoder::create(*model_, *sizes, *threads_, projector_.get());
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
                                                      .long_step = [this](uint32_t ms) { send(wire::LongStep{ms}); }},
                                       StepLoop::SideWork{.has_work = [this] { return embedder_ && embedder_->has_work(); },
                                                          .run_one = [this] { embed_one(); }});
    loaded.n_ctx = sizes->n_ctx;
    loaded.sequences = sizes->sequences;
    loaded.kv_cells = sizes->kv_cells;
    loaded.tools = ChatPrompt::supports_tools();
    loaded.thinking = prompt_->supports_thinking();
    return {};
  }

  Status make_embedder(const EmbedSizes& sizes, uint32_t long_step_ms) {
    auto model = LlamaEmbedModel::create(*model_, sizes, *threads_);
    if (!model) return std::unexpected(model.error());
    embedder_ = std::make_unique<Embedder>(std::move(*model), static_cast<double>(long_step_ms),
                                           Embedder::Sink{.done = [this](wire::Embedded embedded) { send(std::move(embedded)); },
                                                          .refused = [this](uint64_t id, const Error& error) {
                                                            send(wire::Refused{id, error.code, error.message});
                                                          },
                                                          .removed = [this](uint64_t id) { send(wire::Removed{id}); },
                                                          .wake = [this] { wake_for_embeddings(); },
                                                          .long_batch = [this](uint32_t ms) { send(wire::LongStep{ms}); }});
    return {};
  }

  // A batch; an empty step says that the engine is alive.
  void embed_one() {
    if (embedder_->run_one()) send(wire::Step{});
  }
  void wake_for_embeddings() {
    if (loop_) return loop_->wake();
    { const std::lock_guard lock(embed_mutex_); }  // a waiter looks again, or has not begun to wait
    embed_wake_.notify_one();
  }
  void wait_for_embeddings() {
    std::unique_lock lock(embed_mutex_);
    embed_wake_.wait(lock, [this] { return embedder_->has_work(); });
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
    if (!loop_) return refuse(id, Error{Code::kInvalidRequest, "this model makes embeddings only"});
    if (!prepare_queue_.try_push(std::move(message))) refuse(id, Error{Code::kQueueFull, "queue full"});
  }
  void on(wire::Embed& message) {
    const uint64_t id = message.id;
    if (!embedder_) return send(wire::Refused{id, Code::kEmbedUnsupported, "embed not supported by this backend"});
    embedder_->announce(id);
    if (!embed_queue_.try_push(std::move(message))) embedder_->refuse(id, Error{Code::kQueueFull, "queue full"});
  }
  void on(wire::Start& message) {
    if (!loop_) return;
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
    if (!loop_) return;
    const std::lock_guard lock(requests_mutex_);
    if (start_when_prepared_.erase(message.id) == 0) loop_->pause(message.id);
  }
  void on(wire::Cancel& message) {
    if (embedder_ && embedder_->cancel(message.id)) return;
    bool here;
    {
      const std::lock_guard lock(requests_mutex_);
      here = preparing_.erase(message.id) + prepared_.erase(message.id) > 0;
      start_when_prepared_.erase(message.id);
    }
    if (here || !loop_ || !loop_->cancel(message.id)) send(wire::Removed{message.id});  // ended before: the daemon knows by now or will
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

  // A thread of its own: thousands of texts take seconds to tokenise, and no chat shall wait for them. `prepared` says that batches follow.
  void prepare_embeddings() {
    while (auto message = embed_queue_.pop()) {
      const uint64_t id = message->id;
      if (embedder_->add({.id = id, .input = std::move(message->input), .dimensions = message->dimensions})) send(wire::Prepared{id, 0});
    }
  }

  Result<PreparedRequest> prepare(const wire::Prepare& message) const {
    const uint32_t n_ctx = loop_->options().n_ctx;
    auto rendered = prompt_->render(message.request, n_ctx);
    if (!rendered) return std::unexpected(rendered.error());
    const size_t tokens = rendered->tokens.size();
    if (tokens >= n_ctx) {
      return fail(Code::kInvalidRequest, "the prompt has " + std::to_string(tokens) + " tokens, the context holds " + std::to_string(n_ctx));
    }
    if (tokens == 0) return fail(Code::kInvalidRequest, "the prompt has no tokens");
    auto sampler = Sampler::create(*model_, message.request.sampling, rendered->grammar);
    if (!sampler) return std::unexpected(sampler.error());
    return PreparedRequest{.id = message.id,
                           .prompt = std::move(rendered->tokens),
                           .max_tokens = message.request.max_tokens.value_or(kDefaultMaxTokens),
                           .scope = message.scope,
                           .flow = message.request.flow,
                           .batch = message.request.priority == Priority::kBatch,
                           .sample = [sampler = std::move(*sampler)](const float* logits) { return sampler->sample(logits); },
                           .answer = std::move(rendered->answer),
                           .call_required = rendered->call_required,
                           .spans = std::move(rendered->spans)};
  }

  const EngineOptions options_;
  const int channel_;
  os::MemoryAvailable available_;
  std::mutex send_mutex_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<ComputeThreads> threads_;
  std::unique_ptr<Embedder> embedder_;        // null: no embeddings are wanted
  std::unique_ptr<MediaProjector> projector_;  // null: no media
  // Null in an engine whose model writes no text:
  std::unique_ptr<ChatPrompt> prompt_;
  std::unique_ptr<LlamaDecoder> decoder_;
  std::unique_ptr<StepLoop> loop_;
  BoundedQueue<wire::Prepare> prepare_queue_{kPrepareQueue};
  BoundedQueue<wire::Embed> embed_queue_{kPrepareQueue};
  std::mutex embed_mutex_;
  std::condition_variable embed_wake_;  // of an engine without a step loop

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
