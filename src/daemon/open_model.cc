#include "daemon/open_model.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/log.h"
#include "http/transfer.h"
#include "os/asio.h"
#include "os/input_file.h"
#include "store/fetch.h"
#include "store/model_store.h"
#include "store/verify.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

struct Wanted {
  ModelFile file;
  fs::path root;  // of the store
  bool auto_pull = true;
  std::string pull_hint;  // where inferdctl has to look for the file
  store::VerifyPolicy policy = store::VerifyPolicy::kAlways;
};

// One opening, on a thread of the pool.
class Opening {
 public:
  Opening(const Wanted& wanted, const BackendContext& context) : wanted_(wanted), context_(context) {}
  Result<os::UniqueFd> run();

 private:
  Result<os::UniqueFd> open_file(const fs::path& path, const store::BlobId& id);
  Result<os::UniqueFd> open_blob(const store::BlobId& id);
  Result<os::UniqueFd> fetch_and_open(const store::BlobId& id);
  Status fetch(store::ModelStore& store, const store::BlobId& id, bool distrust);
  Result<os::UniqueFd> checked(store::HeldBlob blob, const store::BlobId& id);
  Status verify(int fd, const fs::path& path, const store::BlobId& id, store::VerifyPolicy policy, store::VerificationRecords* records);
  void tell(Phase phase) const;

  const Wanted& wanted_;
  const BackendContext& context_;
};

Result<os::UniqueFd> Opening::run() {
  const auto id = store::BlobId::parse(wanted_.file.source.sha256);
  if (!id) return std::unexpected(id.error());
  if (wanted_.file.path) return open_file(*wanted_.file.path, *id);
  return wanted_.auto_pull ? fetch_and_open(*id) : open_blob(*id);
}

void Opening::tell(Phase phase) const {
  os::asio::post(context_.io, [&bus = context_.bus, phase = std::move(phase)] {
    bus.publish(StatusEvent{.state = StatusEvent::State::kLoadingModel, .phase = phase, .reason = {}});
  });
}

Status Opening::verify(int fd, const fs::path& path, const store::BlobId& id, store::VerifyPolicy policy,
                       store::VerificationRecords* records) {
  const auto progress = [&](uint64_t bytes, uint64_t total) {
    tell(Phase{"verify", {{"path", path.string()}, {"total_bytes", total}, {"verified_bytes", bytes}}});
  };
  const auto verified = store::verify_open_file(fd, path, id, policy, records, {.cancelled = *context_.stopping, .progress = progress});
  if (!verified) return fail(verified.error().code, wanted_.file.what + " file " + verified.error().message);
  log::info("store", "{}: {} bytes, {}", path.string(), verified->bytes, verified->from_record ? "verified before" : "verified");
  return {};
}

// No record is kept of a file outside the store: whoever starts the daemon for one file wants no folder made.
Result<os::UniqueFd> Opening::open_file(const fs::path& path, const store::BlobId& id) {
  auto fd = os::open_regular_file(path);
  if (!fd) return fail(fd.error().code, wanted_.file.what + " file " + fd.error().message);
  if (auto verified = verify(fd->get(), path, id, store::VerifyPolicy::kAlways, nullptr); !verified) return std::unexpected(verified.error());
  return std::move(*fd);
}

Result<os::UniqueFd> Opening::checked(store::HeldBlob blob, const store::BlobId& id) {
  store::VerificationRecords records{store::StorePaths(wanted_.root)};
  if (auto verified = verify(blob.fd.get(), blob.path, id, wanted_.policy, &records); !verified) return std::unexpected(verified.error());
  return std::move(blob.fd);
}

Result<os::UniqueFd> Opening::open_blob(const store::BlobId& id) {
  const auto store = store::ModelStore::open_to_read(wanted_.root);
  auto blob = store ? store->hold(id) : Result<store::HeldBlob>(std::unexpected(store.error()));
  if (!blob && blob.error().code == Code::kNotFound) {
    return fail(Code::kNotFound, wanted_.file.what + " " + wanted_.file.source.name + " is not in the store " + wanted_.root.string() +
                                     ", and auto_pull is off: `inferdctl pull` fetches it" + wanted_.pull_hint);
  }
  if (!blob) return std::unexpected(blob.error());
  return checked(std::move(*blob), id);
}

Status Opening::fetch(store::ModelStore& store, const store::BlobId& id, bool distrust) {
  const ModelSource& model = wanted_.file.source;
  auto name = store::ModelName::parse(model.name);
  if (!name) return std::unexpected(name.error());
  const store::FetchRequest request{.name = std::move(*name),
                                    .id = id,
                                    .urls = urls_of(model),
                                    .size_bytes = model.size_bytes,
                                    .license = model.license,
                                    .distrust = distrust};
  const std::string product = std::string("inferd/") + INFERD_VERSION;
  const auto fetched = store::fetch(store, request, {.produced_by = product, .download = {}, .pace = {}},
                                    {.cancelled = *context_.stopping,
                                     .on_phase = [this](Phase phase) { tell(std::move(phase)); },
                                     .transfers = [&] { return http::curl_transfers({.user_agent = product}); }});
  if (!fetched) return std::unexpected(store::as_error(fetched.error()));
  return {};
}

Result<os::UniqueFd> Opening::fetch_and_open(const store::BlobId& id) {
  auto store = store::ModelStore::open(wanted_.root);
  if (!store) return std::unexpected(store.error());
  for (const bool distrust : {false, true}) {
    if (auto fetched = fetch(*store, id, distrust); !fetched) return std::unexpected(fetched.error());
    auto blob = store->hold(id);
    if (!blob) return std::unexpected(blob.error());
    auto fd = checked(std::move(*blob), id);
    // The store vouched for it by its manifest alone; now it is known to be damaged: it goes to quarantine and is fetched anew.
    if (fd || fd.error().code != Code::kIntegrity || distrust) return fd;
    log::warn("store", "{}", fd.error().message);
  }
  return fail(Code::kInternal, "unreachable");
}

}  // namespace

ModelFile model_of(const LlamacppEntry& entry) { return {entry.model, entry.model_path, "model"}; }

std::optional<ModelFile> projector_of(const LlamacppEntry& entry) {
  if (!entry.mmproj) return std::nullopt;
  return ModelFile{*entry.mmproj, entry.mmproj_path, "projector"};
}

fs::path place_of(const ModelFile& file, const Effective& effective) {
  if (file.path) return *file.path;
  const store::StorePaths paths(store::store_root(effective.config.models_home.value_or("")));
  const auto id = store::BlobId::parse(file.source.sha256);
  return id ? paths.blob(*id) : paths.root();
}

LlamacppBackend::OpenModel open_model(ModelFile file, const Effective& effective, BackendContext context) {
  const bool always = effective.options.verify == "always";
  auto wanted = std::make_shared<const Wanted>(
      Wanted{.file = std::move(file),
             .root = store::store_root(effective.config.models_home.value_or("")),
             .auto_pull = effective.config.auto_pull,
             .pull_hint = effective.config.path.empty() ? "" : " (with --config " + effective.config.path.string() + ")",
             .policy = always ? store::VerifyPolicy::kAlways : store::VerifyPolicy::kRecorded});
  return [wanted, context](std::function<void(Result<os::UniqueFd>)> give) {
    const auto work = [wanted, context, give] {
      auto opened = std::make_shared<Result<os::UniqueFd>>(Opening(*wanted, context).run());
      os::asio::post(context.io, [give, opened] { give(std::move(*opened)); });
    };
    if (!context.pool.try_run(work)) give(fail(Code::kInternal, "no worker is free to open the " + wanted->file.what));
  };
}

}  // namespace inferd
