#include "ctl/configured_models.h"

#include "os/paths.h"

namespace inferd::ctl {

std::filesystem::path config_path(const GlobalOptions& global) {
  return global.config ? std::filesystem::path(*global.config) : os::default_config_file();
}

Result<ConfiguredModels> read_configured_models(const GlobalOptions& global) {
  ConfiguredModels configured;
  configured.config_path = config_path(global);
  auto file = load_config_file(configured.config_path);
  if (!file) return std::unexpected(file.error());
  if (!*file) {
    // The default one may be missing; going on without one that was named would look into another store.
    if (!global.config) return configured;
    return fail(Code::kNotFound, "config file " + configured.config_path.string() + " is not there (--config, INFERD_CONFIG)");
  }
  configured.file = std::move(*file);
  configured.store_root = store::store_root(configured.file->models_home.value_or(""));
  for (const BackendEntry& entry : configured.file->backends) {
    const auto* llamacpp = std::get_if<LlamacppEntry>(&entry);
    if (llamacpp == nullptr) continue;
    for (const ModelSource* const model : {&llamacpp->model, llamacpp->mmproj ? &*llamacpp->mmproj : nullptr}) {
      if (model == nullptr) continue;
      const auto id = store::BlobId::parse(model->sha256);
      if (!id) return std::unexpected(id.error());
      configured.models.push_back(*model);
      configured.blobs.insert(*id);
    }
  }
  return configured;
}

}  // namespace inferd::ctl
