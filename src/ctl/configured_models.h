// What the store's commands need of the config file: where the store is and which models it is to hold. Read once a command, on the main
// thread.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <vector>

#include "base/error.h"
#include "config/config_file.h"
#include "ctl/commands.h"
#include "store/store_paths.h"

namespace inferd::ctl {

struct ConfiguredModels {
  std::filesystem::path config_path;
  std::optional<ConfigFile> file;         // nothing: there is none
  std::filesystem::path store_root = store::store_root("");
  std::vector<ModelSource> models = {};   // of the llamacpp entries, in their order
  std::set<store::BlobId> blobs = {};     // of these models
};

/// The file of --config, else the default one, which may be missing. A file that is named and missing, or there and wrong, is an error.
Result<ConfiguredModels> read_configured_models(const GlobalOptions& global);

/// The path that it reads.
std::filesystem::path config_path(const GlobalOptions& global);

}  // namespace inferd::ctl
