#include <cstdio>

#include "base/size_text.h"
#include "base/utf8.h"
#include "ctl/commands.h"
#include "ctl/garbage.h"
#include "ctl/json_line.h"
#include "os/terminal.h"

namespace inferd::ctl {
namespace {

void show(const store::Garbage& item, bool json) {
  if (json) {
    JsonLine line;
    line.text("event", "garbage").text("kind", store::kind_name(item.kind)).number("bytes", item.bytes).text("path", item.path.string());
    line.print();
  } else {
    std::printf("%-19s %10s  %s\n", std::string(store::kind_name(item.kind)).c_str(), size_text(item.bytes).c_str(),
                printable(item.path.string()).c_str());
  }
}

// The answer of a person at a terminal.
bool is_wanted(const std::vector<store::Garbage>& garbage) {
  std::fflush(stdout);  // the list stands above the question
  std::fprintf(stderr, "delete %s? [y/N] ", amount_text(garbage).c_str());
  const os::TypedLine line = os::read_typed_line();
  return line.text == "y" || line.text == "Y" || line.text == "yes";
}

int collect(store::ModelStore& models, const ConfiguredModels& configured, const std::vector<store::Garbage>& garbage, bool json) {
  const store::Collected collected = models.collect(garbage, configured.blobs);
  for (const auto& [item, why] : collected.kept) {
    std::fprintf(stderr, "kept %s: %s\n", printable(item.path.string()).c_str(), printable(why).c_str());
  }
  const size_t deleted = garbage.size() - collected.kept.size();
  if (json) {
    JsonLine line;
    line.text("event", "done").number("deleted", deleted).number("bytes", collected.bytes).number("kept", collected.kept.size()).print();
  } else {
    std::printf("deleted %zu of %zu, %s\n", deleted, garbage.size(), size_text(collected.bytes).c_str());
  }
  return collected.kept.empty() ? kOk : kSomethingWrong;
}

}  // namespace

int collect_garbage(const GlobalOptions& global, const GcOptions& options) {
  const auto configured = read_configured_models(global);
  if (!configured) return report(configured.error());
  const auto reader = store::ModelStore::open_to_read(configured->store_root);
  const auto garbage = reader ? find_garbage(*reader, *configured) : Result<std::vector<store::Garbage>>();
  if (!garbage) return report(garbage.error());
  for (const store::Garbage& item : *garbage) show(item, global.json);
  if (garbage->empty()) {
    std::fprintf(stderr, "inferdctl: nothing to delete in %s\n", configured->store_root.c_str());
    return kOk;
  }
  if (options.dry_run) {
    if (!global.json) std::printf("%s would go\n", amount_text(*garbage).c_str());
    return kOk;
  }
  if (!options.yes && !os::is_terminal(os::StandardStream::kIn)) {
    return report(Error{Code::kUsage, "there is no terminal to ask at: give --yes to delete " + amount_text(*garbage)});
  }
  if (!options.yes && !is_wanted(*garbage)) {
    std::fputs("nothing was deleted\n", stderr);
    return kSomethingWrong;
  }
  auto models = store::ModelStore::open(configured->store_root);
  if (!models) return report(models.error());
  return collect(*models, *configured, *garbage, global.json);
}

}  // namespace inferd::ctl
