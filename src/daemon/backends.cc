#include "daemon/backends.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "backend/llamacpp/llamacpp_backend.h"
#include "backend/mock/mock_backend.h"
#include "base/log.h"
#include "config/config_table.h"
#include "daemon/open_model.h"
#include "os/paths.h"
#include "os/system.h"
#include "os/turnstile.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
constexpr uint32_t kDefaultSequences = 8;

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

Result<std::unique_ptr<Backend>> make_llamacpp(const LlamacppEntry& entry, const Effective& effective, const BackendContext& context,
                                               std::shared_ptr<const os::UniqueFd> turnstile) {
  const DaemonOptions& options = effective.options;
  LlamacppBackend::Options llamacpp;
  std::error_code error;
  llamacpp.name = entry.name;
  llamacpp.engine_program = options.engine.value_or(os::beside_or_lib("inferd-engine"));
  if (!fs::exists(llamacpp.engine_program, error)) {
    return fail(Code::kNotInThisBuild, llamacpp.engine_program.string() + " is missing: --backend llamacpp is not in this build");
  }
  llamacpp.engine_arguments = options.engine_arguments;
  llamacpp.engine_arguments.insert(llamacpp.engine_arguments.end(), {"--sandbox", entry.sandbox});
  llamacpp.model_path = place_of(model_of(entry), effective).string();
  llamacpp.n_ctx = entry.n_ctx.value_or(0);
  llamacpp.kv_cells = entry.kv_cells.value_or(0);
  llamacpp.sequences = entry.parallel.value_or(kDefaultSequences);
  llamacpp.threads = entry.threads.value_or(0) > 0 ? *entry.threads : static_cast<uint32_t>(os::usable_cpus());
  llamacpp.host_cache_bytes = entry.host_cache_bytes;
  llamacpp.embed = entry.embed;
  llamacpp.embed_pooling = entry.embed_pooling.value_or(-1);
  llamacpp.embed_n_ctx = entry.embed_n_ctx;
  llamacpp.share_between_users = entry.prefix_sharing == "all";
  llamacpp.step_timeout = std::chrono::seconds(entry.step_timeout_secs);
  llamacpp.turnstile = std::move(turnstile);
  llamacpp.open_model = open_model(model_of(entry), effective, context);
  if (auto projector = projector_of(entry)) llamacpp.open_projector = open_model(std::move(*projector), effective, context);
  llamacpp.image_max_tokens = entry.mmproj_image_max_tokens.value_or(0);
  return std::make_unique<LlamacppBackend>(context.io, context.bus, std::move(llamacpp));
}

std::unique_ptr<Backend> make_mock(const DaemonOptions& options, const BackendContext& context) {
  if (!options.backend) {
    log::warn("daemon", "no --backend was given: serving MOCK answers, no language model (try --backend llamacpp --model-path FILE)");
  }
  context.bus.publish(StatusEvent{.state = StatusEvent::State::kLoadingModel,
                                  .phase = Phase{"checking_local", {{"path", std::string("(mock)")}}},
                                  .reason = {}});
  return std::make_unique<MockBackend>(context.io, mock_options(options));
}

}  // namespace

Result<std::vector<std::unique_ptr<Backend>>> make_backends(const Effective& effective, const BackendContext& context) {
  std::vector<std::unique_ptr<Backend>> backends;
  std::shared_ptr<const os::UniqueFd> turnstile;
  if (std::ranges::count(effective.config.backends, "llamacpp", kind_of) > 1) {
    auto made = os::Turnstile::make();
    if (!made) return std::unexpected(made.error());
    turnstile = std::make_shared<const os::UniqueFd>(std::move(*made));
  }
  for (const BackendEntry& entry : effective.config.backends) {
    if (std::holds_alternative<MockEntry>(entry)) {
      backends.push_back(make_mock(effective.options, context));
    } else if (const auto* llamacpp = std::get_if<LlamacppEntry>(&entry)) {
      auto made = make_llamacpp(*llamacpp, effective, context, turnstile);
      if (!made) return std::unexpected(made.error());
      backends.push_back(std::move(*made));
    } else {
      return fail(Code::kNotInThisBuild, "backend " + name_of(entry) + ": " + std::string(kind_of(entry)) + " is not in this build");
    }
  }
  return backends;
}

}  // namespace inferd
