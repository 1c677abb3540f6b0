#include <cstdio>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "ctl/commands.h"
#include "ctl/configured_models.h"
#include "ctl/json_line.h"
#include "store/model_store.h"

namespace inferd::ctl {
namespace {

std::optional<store::BlobId> blob_of(const ModelSource& model) {
  const auto id = store::BlobId::parse(model.sha256);
  return id ? std::optional(*id) : std::nullopt;
}

// What the config file's other entries need.
std::set<store::BlobId> blobs_of_others(const ConfiguredModels& configured, const std::string& name) {
  std::set<store::BlobId> blobs;
  for (const ModelSource& model : configured.models) {
    const auto id = model.name == name ? std::nullopt : blob_of(model);
    if (id) blobs.insert(*id);
  }
  return blobs;
}

// The entries of the config file that want the model again: those of its name and those of its bytes.
std::vector<std::string> wanting_it(const ConfiguredModels& configured, const std::string& name, const std::optional<store::BlobId>& id) {
  std::vector<std::string> names;
  for (const ModelSource& model : configured.models) {
    if (model.name == name || (id && blob_of(model) == id)) names.push_back(model.name);
  }
  return names;
}

void show(const std::string& name, const store::Removed& removed, const std::vector<std::string>& wanting,
          const ConfiguredModels& configured) {
  if (removed.blob_removed) {
    std::printf("removed %s and its blob\n", printable(name).c_str());
  } else {
    std::printf("removed %s; its blob stays: %s (inferdctl gc deletes it when nothing needs it)\n", printable(name).c_str(),
                printable(removed.kept_because).c_str());
  }
  for (const std::string& entry : wanting) {
    std::printf("%s still names it%s: a daemon that starts will want it again\n", configured.config_path.c_str(),
                entry == name ? "" : (" (as " + printable(entry) + ")").c_str());
  }
}

}  // namespace

int remove_model(const GlobalOptions& global, const std::string& text) {
  const auto name = store::ModelName::parse(text);
  if (!name) return report(name.error());
  const auto configured = read_configured_models(global);
  if (!configured) return report(configured.error());
  // Looked for first, so that a slip of the keyboard makes neither a store nor a lock file.
  const auto reader = store::ModelStore::open_to_read(configured->store_root);
  if (!reader) return report(reader.error());
  const auto manifest = reader->manifest(*name);
  if (!manifest && manifest.error().code == Code::kNotFound) {
    const std::string root = configured->store_root.string();
    return report(Error{Code::kNotFound, "there is no model " + printable(text) + " in " + root + " (inferdctl list)"});
  }
  auto models = store::ModelStore::open(configured->store_root);
  if (!models) return report(models.error());
  const auto removed = models->remove(*name, blobs_of_others(*configured, text));
  if (!removed) return report(removed.error());
  if (global.json) {
    JsonLine line;
    line.text("event", "done").text("name", text).flag("blob_removed", removed->blob_removed).text("kept_because", removed->kept_because);
    line.print();
    return kOk;
  }
  show(text, *removed, wanting_it(*configured, text, manifest ? manifest->blob_id() : std::nullopt), *configured);
  return kOk;
}

}  // namespace inferd::ctl
