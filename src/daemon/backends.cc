#include "daemon/backends.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cctype>
#include <filesystem>
#include <utility>

#include "backend/llamacpp/llamacpp_backend.h"
#include "backend/mock/mock_backend.h"
#include "base/log.h"
#include "os/os_error.h"
#include "os/system.h"
#include "store/digest.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
constexpr size_t kDefaultSequences = 8;
constexpr uint32_t kMostThreads = 512;  // of ggml
constexpr size_t kMostSequences = 128;  // half of the sequence ids that llama.cpp has: as many finished ones are kept

MockBackend::Options mock_options(const DaemonOptions& options) {
  MockBackend::Options mock;
  mock.tape = options.mock_tape;
  mock.delay = std::chrono::milliseconds(options.mock_delay_ms);
  mock.active_limit = static_cast<size_t>(std::max<uint64_t>(1, options.active_permits.value_or(1)));
  const std::string& fault = options.mock_fault;
  constexpr std::string_view kDropAfter = "drop-after:";
  if (fault == "not-ready") {
    mock.fault = MockBackend::Fault::kNotReady;
  } else if (fault == "invalid") {
    mock.fault = MockBackend::Fault::kInvalid;
  } else if (fault == "unavailable") {
    mock.fault = MockBackend::Fault::kUnavailable;
  } else if (fault.starts_with(kDropAfter)) {
    mock.fault = MockBackend::Fault::kDropAfter;
    mock.drop_after = std::strtoull(fault.c_str() + kDropAfter.size(), nullptr, 10);
  }
  return mock;
}

// Opens the file, hashes it on the pool and gives the very descriptor that was hashed.
LlamacppBackend::OpenModel verified_model(const fs::path& path, std::string sha256, BackendContext context) {
  std::ranges::transform(sha256, sha256.begin(), [](unsigned char c) { return std::tolower(c); });
  return [path, sha256, context](std::function<void(Result<os::UniqueFd>)> give) {
    os::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info{};
    if (!fd) return give(os::os_fail(errno, "model file " + path.string()));
    if (::fstat(fd.get(), &info) != 0) return give(os::os_fail(errno, "model file " + path.string()));
    if (!S_ISREG(info.st_mode)) return give(fail(Code::kUsage, "model file " + path.string() + " is not a regular file"));
    const auto total = static_cast<uint64_t>(info.st_size);
    const auto publish = [context, path, total](uint64_t bytes) {
      context.bus.publish(StatusEvent{
          .state = StatusEvent::State::kLoadingModel,
          .phase = Phase{"verify", {{"path", path.string()}, {"total_bytes", total}, {"verified_bytes", bytes}}},
          .reason = {}});
    };
    publish(0);
    auto held = std::make_shared<os::UniqueFd>(std::move(fd));
    const auto hash = [=] {
      auto digest = sha256_of(held->get(), *context.stopping,
                              [&](uint64_t bytes) { os::asio::post(context.io, [publish, bytes] { publish(bytes); }); });
      os::asio::post(context.io, [=, digest = std::move(digest)] {
        if (!digest) return give(fail(digest.error().code, "model file " + path.string() + ": " + digest.error().message));
        if (*digest != sha256) {
          return give(fail(Code::kIntegrity, "model file " + path.string() + " has the SHA-256 " + *digest + ", expected " + sha256 +
                                                 ": it is damaged, or the digest is another file's"));
        }
        publish(total);
        give(std::move(*held));
      });
    };
    if (!context.pool.try_run(hash)) give(fail(Code::kInternal, "no worker is free to hash the model"));
  };
}

Result<std::unique_ptr<Backend>> make_llamacpp(const DaemonOptions& options, BackendContext context) {
  if (!options.model_path) return fail(Code::kUsage, "--backend llamacpp needs --model-path FILE and --model-sha256 HEX");
  if (!options.model_sha256) return fail(Code::kUsage, "--model-path needs --model-sha256 (sha256sum " + options.model_path->string() + ")");
  if (!is_sha256(*options.model_sha256)) return fail(Code::kUsage, "--model-sha256: expected 64 hex digits");
  if (options.active_permits.value_or(1) > kMostSequences) {
    return fail(Code::kUsage, "--active-permits " + std::to_string(*options.active_permits) + ": llamacpp runs at most " +
                                  std::to_string(kMostSequences) + " at once");
  }
  if (options.kv_cells && options.n_ctx && *options.kv_cells < *options.n_ctx) {
    return fail(Code::kUsage, "--kv-cells " + std::to_string(*options.kv_cells) + " is less than --n-ctx " + std::to_string(*options.n_ctx) +
                                  ": one request could not use its context");
  }
  if (options.threads.value_or(1) > kMostThreads) {
    return fail(Code::kUsage, "--threads " + std::to_string(*options.threads) + ": at most " + std::to_string(kMostThreads));
  }
  if (options.n_ctx == 0u) return fail(Code::kUsage, "--n-ctx: expected at least 1");
  LlamacppBackend::Options llamacpp;
  std::error_code error;
  llamacpp.engine_program = options.engine.value_or(fs::read_symlink("/proc/self/exe", error).parent_path() / "inferd-engine");
  if (!fs::exists(llamacpp.engine_program, error)) {
    return fail(Code::kNotInThisBuild, llamacpp.engine_program.string() + " is missing: --backend llamacpp is not in this build");
  }
  llamacpp.engine_arguments = options.engine_arguments;
  llamacpp.model_path = options.model_path->string();
  llamacpp.n_ctx = options.n_ctx.value_or(0);
  llamacpp.kv_cells = options.kv_cells.value_or(0);
  llamacpp.sequences = static_cast<uint32_t>(std::max<uint64_t>(1, options.active_permits.value_or(kDefaultSequences)));
  llamacpp.threads = options.threads.value_or(0) > 0 ? *options.threads : static_cast<uint32_t>(os::usable_cpus());
  llamacpp.host_cache_bytes = options.host_cache_bytes;
  llamacpp.share_between_users = options.prefix_sharing == "all";
  llamacpp.step_timeout = std::chrono::seconds(options.step_timeout_secs);
  llamacpp.engine_arguments.insert(llamacpp.engine_arguments.end(), {"--sandbox", options.sandbox});
  llamacpp.open_model = verified_model(*options.model_path, *options.model_sha256, context);
  return std::make_unique<LlamacppBackend>(context.io, context.bus, std::move(llamacpp));
}

}  // namespace

Result<std::vector<std::unique_ptr<Backend>>> make_backends(const DaemonOptions& options, BackendContext context) {
  std::vector<std::unique_ptr<Backend>> backends;
  if (options.backend == "llamacpp") {
    auto llamacpp = make_llamacpp(options, context);
    if (!llamacpp) return std::unexpected(llamacpp.error());
    backends.push_back(std::move(*llamacpp));
    return backends;
  }
  if (!options.backend) {
    log::warn("daemon", "no --backend was given: serving MOCK answers, no language model (try --backend llamacpp --model-path FILE)");
  }
  context.bus.publish(StatusEvent{.state = StatusEvent::State::kLoadingModel,
                                  .phase = Phase{"checking_local", {{"path", std::string("(mock)")}}},
                                  .reason = {}});
  backends.push_back(std::make_unique<MockBackend>(context.io, mock_options(options)));
  return backends;
}

}  // namespace inferd
