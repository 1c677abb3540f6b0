#include "store/verify.h"

#include <algorithm>
#include <cstdio>

#include "base/size_text.h"
#include "base/utf8.h"
#include "ctl/commands.h"
#include "ctl/configured_models.h"
#include "ctl/json_line.h"
#include "ctl/model_text.h"
#include "ctl/stop_on_interrupt.h"
#include "ctl/store_progress.h"

namespace inferd::ctl {
namespace {

struct Verdict {
  std::string name, state;
  std::optional<uint64_t> bytes;
  std::string what_to_do;  // empty: the model is right
};

void show(const Verdict& verdict, bool json) {
  if (json) {
    JsonLine line;
    line.text("event", "done").text("name", verdict.name).text("state", verdict.state).number("bytes", verdict.bytes);
    line.text("message", verdict.what_to_do).print();
  } else if (verdict.what_to_do.empty()) {
    std::printf("[ ok ] %s: %s\n", printable(verdict.name).c_str(), size_text(verdict.bytes.value_or(0)).c_str());
  } else {
    std::printf("[FAIL] %s: %s\n", printable(verdict.name).c_str(), printable(verdict.what_to_do).c_str());
  }
  std::fflush(stdout);
}

// Hashes the blob, whatever was recorded of it before. An error: it was stopped.
Result<Verdict> examine(const store::ModelStore& models, const store::ListedModel& model, bool json, const std::atomic<bool>& stopped) {
  Verdict verdict{.name = model.name, .state = {}, .bytes = model.blob_bytes, .what_to_do = {}};
  ModelState state = state_of(model);
  std::optional<Error> why;
  if (state == ModelState::kOk || state == ModelState::kWrongSize) {
    const auto held = models.hold(*model.manifest->blob_id());
    if (held) {
      StoreProgress progress(json, model.name);
      store::VerificationRecords records(models.paths());
      const auto verified = store::verify_open_file(
          held->fd.get(), held->path, *model.manifest->blob_id(), store::VerifyPolicy::kAlways, &records,
          {.cancelled = stopped, .progress = [&progress](uint64_t bytes, uint64_t total) { progress.show("verify", bytes, total); }});
      progress.clear();
      if (!verified && stopped) return std::unexpected(verified.error());
      if (!verified) why = verified.error();
    } else {
      why = held.error();
    }
    // Only wrong bytes are a reason to remove a model; a disk or a right that is missing is not.
    if (why) state = why->code == Code::kIntegrity ? ModelState::kDamaged : ModelState::kUnreadable;
  }
  verdict.state = state_name(state);
  verdict.what_to_do = advice_for(model, state);
  if (why) verdict.what_to_do = why->message + (state == ModelState::kDamaged ? ": " + replace_advice(model.name) : "");
  return verdict;
}

// The models that were asked for, and as verdicts those that are not there.
std::vector<store::ListedModel> choose(std::vector<store::ListedModel> listed, const std::vector<std::string>& names,
                                       std::vector<Verdict>& missing) {
  for (const std::string& name : names) {
    if (std::ranges::find(listed, name, &store::ListedModel::name) != listed.end()) continue;
    missing.push_back({name, "not in the store", std::nullopt, "there is no such model (inferdctl list): inferdctl pull (or import) it"});
  }
  if (!names.empty()) {
    std::erase_if(listed, [&](const store::ListedModel& model) { return std::ranges::find(names, model.name) == names.end(); });
  }
  return listed;
}

}  // namespace

int verify_models(const GlobalOptions& global, const std::vector<std::string>& names) {
  const auto configured = read_configured_models(global);
  if (!configured) return report(configured.error());
  const auto models = store::ModelStore::open_to_read(configured->store_root);
  auto listed = models ? models->list() : Result<std::vector<store::ListedModel>>();
  if (!listed) return report(listed.error());
  std::vector<Verdict> missing;
  const auto chosen = choose(std::move(*listed), names, missing);
  for (const Verdict& verdict : missing) show(verdict, global.json);
  if (chosen.empty() && missing.empty()) std::fprintf(stderr, "inferdctl: no models in %s\n", configured->store_root.c_str());
  bool all_right = missing.empty();
  const StopOnInterrupt interrupt;
  for (const store::ListedModel& model : chosen) {
    const auto verdict = examine(*models, model, global.json, interrupt.stopped());
    if (!verdict) return report_interrupted("not all models were verified");
    show(*verdict, global.json);
    all_right = all_right && verdict->what_to_do.empty();
  }
  return all_right ? kOk : kSomethingWrong;
}

}  // namespace inferd::ctl
