#include <array>
#include <cstdio>
#include <filesystem>

#include "base/size_text.h"
#include "ctl/commands.h"
#include "os/paths.h"
#include "os/run_program.h"
#include "wire/json_document.h"
#include "wire/json_fields.h"

namespace inferd::ctl {
namespace {

// What the engine says of a model.
struct Plan {
  bool fits = false;
  uint64_t needed = 0, available = 0, weights = 0, kv_cache = 0, compute = 0, host_cache = 0, n_ctx = 0, sequences = 0, kv_cells = 0;
  std::string limited_by, model_name, refusal;
};

Result<Plan> parse_plan(std::string_view line) {
  static constexpr std::array<std::string_view, 13> kFields = {
      "fits",  "limited_by", "model_name", "refusal", "needed_bytes", "available_bytes", "weights_bytes", "kv_cache_bytes", "compute_bytes",
      "host_cache_bytes", "n_ctx", "sequences", "kv_cells"};
  wire::JsonDocument document;
  if (auto parsed = document.parse(line); !parsed) return std::unexpected(parsed.error());
  auto fields = wire::JsonFields::of(document.root(), "", kFields);
  if (!fields) return std::unexpected(fields.error());
  Plan plan;
  fields->boolean(0, plan.fits);
  fields->text(1, plan.limited_by, true);
  fields->text(2, plan.model_name, true);
  fields->text(3, plan.refusal, false);
  size_t field = 4;
  for (uint64_t* number : {&plan.needed, &plan.available, &plan.weights, &plan.kv_cache, &plan.compute, &plan.host_cache, &plan.n_ctx,
                           &plan.sequences, &plan.kv_cells}) {
    std::optional<uint64_t> value;
    fields->unsigned_number(field, UINT64_MAX, value);
    if (!value) fields->missing(field);
    *number = value.value_or(0);
    ++field;
  }
  if (!fields->ok()) return std::unexpected(fields->error());
  return plan;
}

// One line for each number; the sizes stand under each other.
void show(const Plan& plan, const std::string& model) {
  const auto row = [](const char* what, const std::string& value) { std::printf("%-12s %s\n", what, value.c_str()); };
  const auto size = [](const char* what, uint64_t bytes, const std::string& note = "") {
    std::printf("%-12s %10s%s\n", what, size_text(bytes).c_str(), note.c_str());
  };
  row("model", plan.model_name.empty() ? model : plan.model_name + " (" + model + ")");
  row("context", std::to_string(plan.n_ctx) + " tokens a request, " + std::to_string(plan.sequences) + " at once, " +
                     std::to_string(plan.kv_cells) + " cells");
  size("weights", plan.weights);
  size("KV cache", plan.kv_cache);
  size("compute", plan.compute, "  (buffers)");
  size("host cache", plan.host_cache, "  (finished sequences)");
  size("needed", plan.needed);
  size("available", plan.available, "  (" + plan.limited_by + ")");
  row("verdict", plan.fits ? "fits" : "does not fit: " + plan.refusal);
}

Result<std::string> ask_engine(const PlanOptions& options) {
  const auto engine = os::beside_or_lib("inferd-engine");
  if (std::error_code ignored; !std::filesystem::exists(engine, ignored)) {
    return fail(Code::kNotInThisBuild, engine.string() + " is missing: this build has no llama.cpp");
  }
  // Joined, so that a name that begins with "-" is no option.
  std::vector<std::string> arguments{"--plan", "--model=" + options.model};
  const auto add = [&arguments](const char* name, const auto& value) {
    if (value) arguments.insert(arguments.end(), {name, std::to_string(*value)});
  };
  add("--n-ctx", options.n_ctx);
  add("--sequences", options.parallel);
  add("--kv-cells", options.kv_cells);
  add("--host-cache-bytes", options.host_cache_bytes);
  auto end = os::run_program(engine, arguments);
  if (!end) return std::unexpected(end.error());
  if (!end->signal.empty()) return fail(Code::kInternal, options.model + ": inferd-engine was killed by " + end->signal + " while it read it\n" + end->err);
  if (end->exit_code != 0) return fail(Code::kInternal, end->err);
  return std::move(end->out);
}

}  // namespace

int plan_model(const GlobalOptions& global, const PlanOptions& options) {
  const auto line = ask_engine(options);
  const auto plan = line ? parse_plan(*line) : Result<Plan>(std::unexpected(line.error()));
  if (!plan) {
    const std::string& message = plan.error().message;
    std::fprintf(stderr, "error: %s%s", message.c_str(), message.ends_with('\n') ? "" : "\n");
    return kDoesNotFit;
  }
  if (global.json) {
    std::fputs(line->c_str(), stdout);
  } else {
    show(*plan, options.model);
  }
  return plan->fits ? kOk : kDoesNotFit;
}

}  // namespace inferd::ctl
