#include "ctl/model_text.h"


namespace inferd::ctl {

ModelState state_of(const store::ListedModel& model) {
  if (!model.manifest) return ModelState::kUnreadableManifest;
  if (model.blob_path.empty()) return ModelState::kUnknownBlob;
  if (!model.blob_bytes) return ModelState::kBlobMissing;
  return *model.blob_bytes == model.manifest->size_bytes ? ModelState::kOk : ModelState::kWrongSize;
}

std::string_view state_name(ModelState state) {
  switch (state) {
    case ModelState::kOk: return "ok";
    case ModelState::kBlobMissing: return "blob missing";
    case ModelState::kWrongSize: return "wrong size";
    case ModelState::kUnknownBlob: return "unknown blob";
    case ModelState::kUnreadableManifest: return "unreadable manifest";
    case ModelState::kDamaged: return "damaged";
    case ModelState::kUnreadable: return "unreadable";
  }
  return "damaged";
}

std::string replace_advice(std::string_view name) {
  return "inferdctl rm " + std::string(name) + ", then inferdctl pull (or import) it again";
}

std::string advice_for(const store::ListedModel& model, ModelState state) {
  const std::string again = ": " + replace_advice(model.name);
  switch (state) {
    case ModelState::kOk:
      return {};
    case ModelState::kBlobMissing:
      return model.blob_path.string() + " is missing: inferdctl pull (or import) it again";
    case ModelState::kWrongSize:
      return model.blob_path.string() + " has " + std::to_string(model.blob_bytes.value_or(0)) + " bytes, the manifest says " +
             std::to_string(model.manifest->size_bytes) + again;
    case ModelState::kUnknownBlob:
      return model.manifest_path.string() + " names " + model.manifest->blob + ", which is no blob of this store" + again;
    case ModelState::kUnreadableManifest:
      return model.manifest.error().message + again;
    case ModelState::kDamaged:
      return model.blob_path.string() + " is damaged" + again;
    case ModelState::kUnreadable:
      return model.blob_path.string() + " cannot be read";
  }
  return {};
}

std::string_view model_name_of_file(std::string_view file_name) {
  constexpr std::string_view kSuffix = ".gguf";
  if (file_name.ends_with(kSuffix)) file_name.remove_suffix(kSuffix.size());
  return file_name;
}

}  // namespace inferd::ctl
