// The step loop without a daemon: what the process boundary costs, and how much logits depend on the batch that they are computed in.
//   step_bench rate MODEL [--streams 16] [--tokens 64] [--boundary none|packets] [--threads N]
//       decodes that many streams of different short prompts at once and prints one JSON line: tokens per second, steps, microseconds a
//       step that the sink took. `packets`: each step is encoded and sent to a process that reads and decodes it, as the engine does.
//   step_bench epsilon MODEL [--positions 1000] [--threads N]
//       the largest difference of a logit between batches of 1 and of 8, and the smallest gaps between the two best ones.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <random>
#include <thread>

#include "engine/cpu_variant.h"
#include "engine/llama_decoder.h"
#include "engine/plain_answer.h"
#include "engine/step_loop.h"
#include "engine_wire/messages.h"
#include "os/packet_socket.h"
#include "os/system.h"

namespace {

using namespace inferd;
using namespace inferd::engine;
using Clock = std::chrono::steady_clock;

[[noreturn]] void stop_with(const std::string& why) {
  std::fprintf(stderr, "step_bench: %s\n", why.c_str());
  std::exit(1);
}

template <class T>
T need(Result<T> result) {
  if (!result) stop_with(result.error().message);
  return std::move(*result);
}

Token best_of(const float* logits, int32_t count) { return static_cast<Token>(std::max_element(logits, logits + count) - logits); }

std::vector<Token> random_prompt(std::mt19937& random, int32_t vocabulary, size_t length) {
  std::vector<Token> tokens(length);
  for (Token& token : tokens) token = static_cast<Token>(1000 + random() % static_cast<unsigned>(vocabulary - 1000));
  return tokens;
}

// Reads and decodes steps until the channel closes, as the daemon does.
[[noreturn]] void be_the_daemon(int channel) {
  os::Packet packet;
  for (;;) {
    const auto received = os::receive_packet(channel, packet);
    if (!received || *received != os::PacketState::kDone) ::_exit(0);
    if (!engine_wire::decode_from_engine(packet.bytes)) ::_exit(1);
  }
}

int rate(const Model& model, uint32_t streams, uint32_t tokens, const std::string& boundary, uint32_t threads, int channel) {
  ContextSizes sizes{.n_ctx = 8192, .sequences = streams, .kv_cells = 16384, .threads = threads};
  ComputeThreads compute(threads, nullptr);
  const auto decoder = need(LlamaDecoder::create(model, sizes, compute));
  size_t steps = 0, ended = 0, counted = 0, started = 0;
  std::chrono::nanoseconds in_sink{0};
  Clock::time_point begin{}, end{};
  StepLoop* stopping = nullptr;
  const auto take = [&](engine_wire::Step step) {
    const auto before = Clock::now();
    for (const auto& entry : step.entries) {
      started += entry.computed > 0 && entry.tokens > 0;
      ended += entry.stop_reason.has_value();
    }
    const bool all = started == streams && ended == 0;  // only steps in which every stream has a token count
    if (all && counted == 0) begin = before;
    if (all) {
      ++steps;
      counted += step.entries.size();
      end = before;
    }
    const auto sending = Clock::now();
    if (boundary == "packets") {
      const std::string bytes = engine_wire::encode(engine_wire::FromEngine(std::move(step)));
      if (!os::send_packet(channel, bytes, {})) stop_with("the reader is gone");
    }
    if (all) in_sink += Clock::now() - sending;
    if (ended == streams) stopping->stop();
  };
  StepLoop loop(*decoder, {.n_ctx = 8192, .sequences = streams, .sequence_ids = sizes.sequence_ids(), .kv_cells = 16384},
                {.step = take, .removed = [](uint64_t) {}, .long_step = [](uint32_t) {}});
  stopping = &loop;
  std::mt19937 random(7);
  const int32_t vocabulary = model.n_vocab();
  for (uint64_t id = 1; id <= streams; ++id) {
    PreparedRequest request;
    request.id = id;
    request.prompt = random_prompt(random, vocabulary, 32);
    request.max_tokens = tokens;
    request.flow = {0, 0, id};
    request.answer = std::make_unique<PlainAnswer>(std::vector<std::string>());
    request.sample = [vocabulary, &decoder](const float* logits) -> Result<Token> {
      const Token best = best_of(logits, vocabulary);
      return decoder->is_end(best) ? Token{1000} : best;  // every stream lasts
    };
    loop.start(std::move(request));
  }
  loop.run();
  const double seconds = std::chrono::duration<double>(end - begin).count();
  const double per_step = static_cast<double>(in_sink.count()) / 1e3 / static_cast<double>(std::max<size_t>(steps, 1));
  std::printf("{\"tokens_per_second\":%.2f,\"steps\":%zu,\"sink_us_per_step\":%.2f}\n", static_cast<double>(counted - streams) / seconds, steps, per_step);
  return 0;
}

// The same random text, position by position: once alone, once beside seven others in every batch.
int epsilon(const Model& model, uint32_t positions, uint32_t threads) {
  constexpr uint32_t kBeside = 8;
  ContextSizes sizes{.n_ctx = 8192, .sequences = kBeside, .kv_cells = 16384, .threads = threads};
  ComputeThreads compute(threads, nullptr);
  const auto decoder = need(LlamaDecoder::create(model, sizes, compute));
  std::mt19937 random(11);
  const int32_t vocabulary = model.n_vocab();
  std::vector<std::vector<Token>> texts;
  for (uint32_t i = 0; i < kBeside; ++i) texts.push_back(random_prompt(random, vocabulary, positions));
  std::vector<std::vector<float>> alone(positions);
  for (uint32_t position = 0; position < positions; ++position) {
    const Decoder::Input input{texts[0][position], position, 0, true};
    if (decoder->compute({&input, 1}) != Decoder::Outcome::kComputed) stop_with("the model could not compute");
    const float* logits = decoder->logits(0);
    alone[position].assign(logits, logits + vocabulary);
  }
  decoder->clear(0);
  double largest = 0, sum = 0;
  uint32_t flips = 0;
  std::vector<double> gaps;
  for (uint32_t position = 0; position < positions; ++position) {
    std::vector<Decoder::Input> batch;
    for (uint32_t i = 0; i < kBeside; ++i) batch.push_back({texts[i][position], position, static_cast<SequenceId>(i), true});
    if (decoder->compute(batch) != Decoder::Outcome::kComputed) stop_with("the model could not compute");
    const float* logits = decoder->logits(0);
    double most = 0;
    for (int32_t i = 0; i < vocabulary; ++i) most = std::max(most, std::abs(static_cast<double>(logits[i]) - alone[position][static_cast<size_t>(i)]));
    largest = std::max(largest, most);
    sum += most;
    flips += best_of(logits, vocabulary) != best_of(alone[position].data(), vocabulary);
    auto sorted = alone[position];
    std::ranges::nth_element(sorted, sorted.begin() + 1, std::greater());
    gaps.push_back(static_cast<double>(*std::ranges::max_element(sorted.begin(), sorted.begin() + 2)) - sorted[1]);
  }
  std::ranges::sort(gaps);
  std::printf("{\"positions\":%u,\"epsilon\":%.6f,\"mean_of_largest\":%.6f,\"other_best_token\":%u,\"gap_p1\":%.6f,\"gap_median\":%.6f}\n", positions, largest,
              sum / positions, flips, gaps[gaps.size() / 100], gaps[gaps.size() / 2]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The step loop without a daemon", "step_bench");
  std::string command, path, boundary = "none";
  uint32_t streams = 16, tokens = 64, positions = 1000, threads = static_cast<uint32_t>(inferd::os::usable_cpus());
  app.add_option("command", command)->required()->check(CLI::IsMember({"rate", "epsilon"}));
  app.add_option("model", path)->required();
  app.add_option("--streams", streams);
  app.add_option("--tokens", tokens);
  app.add_option("--positions", positions);
  app.add_option("--threads", threads);
  app.add_option("--boundary", boundary)->check(CLI::IsMember({"none", "packets"}));
  CLI11_PARSE(app, argc, argv);
  auto sockets = need(os::packet_socket_pair());
  const pid_t reader = ::fork();  // before any thread
  if (reader == 0) {
    sockets.first.reset();
    be_the_daemon(sockets.second.get());
  }
  sockets.second.reset();
  std::error_code error;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  need(load_cpu_variant(here.parent_path() / "bin", {}, ""));
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) stop_with(path + " cannot be opened");
  const auto model = need(Model::load(fd, [](unsigned) {}));
  const int code = command == "rate" ? rate(*model, streams, tokens, boundary, threads, sockets.first.get()) : epsilon(*model, positions, threads);
  sockets.first.reset();
  ::waitpid(reader, nullptr, 0);
  return code;
}
