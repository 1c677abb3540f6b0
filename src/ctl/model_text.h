// What inferdctl says about a model of the store: the state that it is in and what to do about it. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "store/model_store.h"

namespace inferd::ctl {

enum class ModelState { kOk, kBlobMissing, kWrongSize, kUnknownBlob, kUnreadableManifest, kDamaged, kUnreadable };

/// All but kDamaged and kUnreadable, which only hashing tells.
ModelState state_of(const store::ListedModel& model);

/// "ok", "blob missing", ...
std::string_view state_name(ModelState state);

/// What is wrong, and the command that mends it; empty for kOk.
std::string advice_for(const store::ListedModel& model, ModelState state);

/// "inferdctl rm NAME, then ...": what mends a model that is there and wrong.
std::string replace_advice(std::string_view name);

/// The name that a model gets from the name of its file: without ".gguf".
std::string_view model_name_of_file(std::string_view file_name);

}  // namespace inferd::ctl
