// What gc would delete, as `gc` and `doctor` see it. Main thread.
#pragma once

#include <string>
#include <vector>

#include "ctl/configured_models.h"
#include "store/model_store.h"

namespace inferd::ctl {

/// What neither the store's manifests nor the config file need and nobody holds. An unfinished download of a configured model is not in
/// it: the next pull goes on from there.
Result<std::vector<store::Garbage>> find_garbage(const store::ModelStore& models, const ConfiguredModels& configured);

/// "3 files, 94 MiB"
std::string amount_text(const std::vector<store::Garbage>& garbage);

}  // namespace inferd::ctl
