#include "engine/plan_command.h"

#include <llama.h>

#include <cstdio>
#include <cstdlib>

#include "base/json_text.h"
#include "base/utf8.h"
#include "engine/cpu_variant.h"
#include "engine/memory_plan.h"
#include "os/input_file.h"

namespace inferd::engine {
namespace {

Result<MemoryPlan> make_plan(const PlanCommand& command) {
  const auto file = os::open_regular_file(command.model);
  if (!file) return std::unexpected(file.error());
  if (auto variant = load_cpu_variant(command.variants, command.skip_variants, command.variant); !variant) return std::unexpected(variant.error());
  llama_backend_init();
  auto plan = plan_memory(file->get(), {command.sizes, command.host_cache_bytes, os::available_memory(), command.embed ? std::optional(EmbedSizes{}) : std::nullopt});
  if (!plan && plan.error().code != Code::kUsage) plan.error().message.insert(0, command.model.string() + ": ");
  return plan;
}

std::string to_json(const MemoryPlan& plan) {
  std::string out = "{\"fits\":";
  out += plan.fits() ? "true" : "false";
  const auto number = [&out](const char* key, uint64_t value) {
    out += std::string(",\"") + key + "\":";
    append_json_number(out, value);
  };
  const auto text = [&out](const char* key, const std::string& value) {
    out += std::string(",\"") + key + "\":";
    append_json_text(out, to_valid_utf8(value));
  };
  number("needed_bytes", plan.needed());
  number("available_bytes", plan.available);
  text("limited_by", plan.limited_by);
  number("weights_bytes", plan.weights);
  number("kv_cache_bytes", plan.kv_cache);
  number("compute_bytes", plan.compute);
  number("host_cache_bytes", plan.host_cache);
  if (plan.embed > 0) number("embed_bytes", plan.embed);
  if (plan.projector > 0) number("projector_bytes", plan.projector);
  number("n_ctx", plan.n_ctx);
  number("sequences", plan.sequences);
  number("kv_cells", plan.kv_cells);
  text("model_name", plan.model_name);
  if (!plan.fits()) text("refusal", plan.refusal());
  return out + "}\n";
}

}  // namespace

int print_plan(const PlanCommand& command) {
  ::setenv("GGML_NO_BACKTRACE", "1", 1);  // ggml would fork a debugger when it asserts
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  const auto plan = make_plan(command);
  if (!plan) {
    std::fprintf(stderr, "%s\n", plan.error().message.c_str());
    return 1;
  }
  const std::string json = to_json(*plan);
  const bool written = std::fwrite(json.data(), 1, json.size(), stdout) == json.size() && std::fflush(stdout) == 0;
  return written ? 0 : 1;
}

}  // namespace inferd::engine
