#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/utf8.h"
#include "ctl/commands.h"
#include "ctl/configured_models.h"
#include "ctl/json_line.h"
#include "ctl/model_text.h"
#include "ctl/stop_on_interrupt.h"
#include "ctl/store_progress.h"
#include "http/transfer.h"
#include "store/fetch.h"

namespace inferd::ctl {
namespace {

constexpr auto kPhasePace = std::chrono::milliseconds(100);

// The last part of the URL's path; empty if there is none.
std::string model_name_of_url(const std::string& url) {
  const std::string shown = http::shown_url(url);
  const size_t scheme = shown.find("://");
  const std::string_view rest = std::string_view(shown).substr(scheme == std::string::npos ? 0 : scheme + 3);
  const size_t slash = rest.rfind('/');
  return slash == std::string_view::npos ? std::string() : std::string(model_name_of_file(rest.substr(slash + 1)));
}

Result<store::FetchRequest> request_for(const ModelSource& source) {
  auto name = store::ModelName::parse(source.name);
  auto id = store::BlobId::parse(source.sha256);
  if (!name) return std::unexpected(name.error());
  if (!id) return std::unexpected(id.error());
  return store::FetchRequest{.name = *name, .id = *id, .urls = urls_of(source), .size_bytes = source.size_bytes, .license = source.license};
}

Result<std::vector<store::FetchRequest>> requests_of(const PullOptions& options, const ConfiguredModels& configured) {
  std::vector<ModelSource> sources = configured.models;
  if (options.url) {
    ModelSource source;
    source.name = options.name.value_or(model_name_of_url(*options.url));
    if (source.name.empty()) return fail(Code::kUsage, http::shown_url(*options.url) + " ends without a file name: give --name NAME");
    source.sha256 = options.sha256;
    source.source_url = *options.url;
    sources = {std::move(source)};
  }
  std::vector<store::FetchRequest> requests;
  for (const ModelSource& source : sources) {
    auto request = request_for(source);
    if (!request) return std::unexpected(request.error());
    requests.push_back(std::move(*request));
  }
  return requests;
}

uint64_t number_in(const Phase& phase, const char* field) {
  const auto at = phase.fields.find(field);
  const auto* number = at == phase.fields.end() ? nullptr : std::get_if<uint64_t>(&at->second);
  return number == nullptr ? 0 : *number;
}

void show_phase(const Phase& phase, StoreProgress& progress) {
  const uint64_t total = number_in(phase, "total_bytes");
  if (phase.name == "download") {
    progress.show("download", number_in(phase, "downloaded_bytes"), total == 0 ? std::nullopt : std::optional(total));
  } else if (phase.name == "verify") {
    progress.show("verify", number_in(phase, "verified_bytes"), total);
  }
}

const char* how_text(store::Fetched::How how) {
  switch (how) {
    case store::Fetched::How::kWasThere: return "was_there";
    case store::Fetched::How::kVerified: return "verified";
    case store::Fetched::How::kDownloaded: return "downloaded";
  }
  return "downloaded";
}

int pull(store::ModelStore& models, const store::FetchRequest& request, bool json, const std::atomic<bool>& stopped) {
  const std::string& name = request.name.text();
  if (!json) std::fprintf(stderr, "inferdctl: pulling %s -> %s\n", printable(name).c_str(), models.paths().root().c_str());
  StoreProgress progress(json, name);
  store::FetchOptions options;
  options.produced_by = "inferd/" INFERD_VERSION;
  options.phase_time = kPhasePace;
  const store::FetchHooks hooks{
      .cancelled = stopped,
      .on_phase = [&progress](const Phase& phase) { show_phase(phase, progress); },
      .transfers = [&options] { return http::curl_transfers(http::TransferOptions{.user_agent = options.produced_by}); }};
  const auto fetched = store::fetch(models, request, options, hooks);
  progress.clear();
  if (!fetched && fetched.error().error == store::FetchError::kCancelled) {
    return report_interrupted("what has come of " + printable(name) + " stays; the same command goes on from there");
  }
  if (!fetched) return report(store::as_error(fetched.error()));
  if (json) {
    JsonLine().text("event", "done").text("name", name).text("sha256", request.id.hex()).number("bytes", fetched->bytes)
        .text("how", how_text(fetched->how)).text("path", fetched->blob.string()).print();
  } else {
    std::fprintf(stderr, "inferdctl: blob ready at %s\n", fetched->blob.c_str());
  }
  return kOk;
}

}  // namespace

// One model that cannot be had does not keep the others away.
int pull_models(const GlobalOptions& global, const PullOptions& options) {
  const auto configured = read_configured_models(global);
  if (!configured) return report(configured.error());
  const auto requests = requests_of(options, *configured);
  if (!requests) return report(requests.error());
  if (requests->empty()) {
    std::fprintf(stderr, "inferdctl: nothing to pull: %s %s\n", configured->config_path.c_str(),
                 configured->file ? "has no llamacpp entry" : "is not there (inferdctl pull URL --sha256 HEX needs none)");
    return kOk;
  }
  auto models = store::ModelStore::open(configured->store_root);
  if (!models) return report(models.error());
  const StopOnInterrupt interrupt;
  int code = kOk;
  for (const store::FetchRequest& request : *requests) {
    const int one = pull(*models, request, global.json, interrupt.stopped());
    if (one == kInterrupted) return one;
    code = std::max(code, one);
  }
  return code;
}

}  // namespace inferd::ctl
