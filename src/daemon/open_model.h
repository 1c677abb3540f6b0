// Where a llamacpp entry's files come from: a file outside the store (--model-path), or the store, which fetches what is missing. Called
// by the bring-up; works on the pool, answers and publishes on the I/O thread. Gives the very descriptor whose bytes were checked; that
// of a blob holds it: nobody removes it as long as the daemon or an engine has it open.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "backend/llamacpp/llamacpp_backend.h"
#include "config/effective.h"
#include "daemon/backends.h"

namespace inferd {

/// A file of an entry: its model, or the projector that belongs to it.
struct ModelFile {
  ModelSource source;
  std::optional<std::filesystem::path> path;  // outside the store
  std::string what;                           // "model", "projector"
};

ModelFile model_of(const LlamacppEntry& entry);
/// Nothing: it has none.
std::optional<ModelFile> projector_of(const LlamacppEntry& entry);

/// Where it is, or will be: for status events.
std::filesystem::path place_of(const ModelFile& file, const Effective& effective);

/// Errors: kIntegrity for bytes that are not the model's, kNotFound for a missing blob with `auto_pull` off; what fetch reports is
/// kBackendUnavailable with the name of its error in front.
LlamacppBackend::OpenModel open_model(ModelFile file, const Effective& effective, BackendContext context);

}  // namespace inferd
