#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/size_text.h"
#include "base/utf8.h"
#include "config/check_options.h"
#include "config/config_table.h"
#include "config/effective.h"
#include "config/keys.h"
#include "ctl/commands.h"
#include "ctl/configured_models.h"
#include "ctl/garbage.h"
#include "ctl/json_line.h"
#include "ctl/model_text.h"
#include "os/landlock.h"
#include "os/paths.h"
#include "os/writable_folder.h"
#include "store/download.h"
#include "store/model_store.h"

namespace inferd::ctl {
namespace {

namespace fs = std::filesystem;
constexpr auto kFrameTime = std::chrono::milliseconds(500);
constexpr size_t kMostFrames = 64;  // capabilities of so many backends come before the status

// A line for each check, as soon as it is known.
class Findings {
 public:
  explicit Findings(bool json) : json_(json) {}
  void ok(const std::string& label, const std::string& detail) { tell("ok", " ok ", label, detail); }
  void warn(const std::string& label, const std::string& detail) { tell("warn", "warn", label, detail); }
  void wrong(const std::string& label, const std::string& detail) {
    tell("fail", "FAIL", label, detail);
    any_wrong_ = true;
  }
  bool any_wrong() const { return any_wrong_; }

 private:
  void tell(const char* state, const char* mark, const std::string& label, const std::string& detail) {
    if (json_) {
      JsonLine().text("check", label).text("state", state).text("detail", detail).print();
    } else {
      std::printf("[%s] %s: %s\n", mark, printable(label).c_str(), printable(detail).c_str());
      std::fflush(stdout);
    }
  }

  const bool json_;
  bool any_wrong_ = false;
};

// The effective configuration without the daemon's command line and environment; nothing if there is no file, or it cannot be merged.
std::optional<Effective> examine_config(const ConfiguredModels& configured, Findings& findings) {
  const std::string path = configured.config_path.string();
  if (!configured.file) {
    findings.warn("config", path + " is not there: without it and without options a daemon serves the mock backend");
    return std::nullopt;
  }
  DaemonOptions options;
  options.config = configured.config_path;
  auto effective = merge(std::move(options), configured.file);
  if (!effective) {
    findings.wrong("config", effective.error().message);
    return std::nullopt;
  }
  const auto checked = check_effective(*effective);
  const auto keys = check_keys(*effective);  // have a line of their own
  if (!checked && (keys || keys.error().message != checked.error().message)) {
    findings.wrong("config", checked.error().message);
  } else {
    std::string list;
    for (const BackendEntry& entry : effective->config.backends) {
      list += (list.empty() ? "" : ", ") + std::string(kind_of(entry)) + ":" + name_of(entry);
    }
    findings.ok("config", path + ", backends [" + list + "], auto_pull " + (effective->config.auto_pull ? "true" : "false"));
  }
  for (const std::string& warning : effective->config.warnings) findings.warn("config", warning);
  return std::move(*effective);
}

void examine_manifest(const ModelSource& source, const store::BlobId& id, const fs::path& path, const Result<store::Manifest>& manifest,
                      bool has_blob, Findings& findings) {
  const std::string label = "manifest[" + source.name + "]";
  if (manifest && manifest->blob_id() == id) {
    findings.ok(label, path.string());
  } else if (manifest) {
    findings.warn(label, path.string() + " names " + manifest->blob + ", the config file sha256:" + id.hex() +
                             ": inferdctl pull replaces it");
  } else if (manifest.error().code != Code::kNotFound) {
    findings.wrong(label, manifest.error().message + ": " + replace_advice(source.name));
  } else if (has_blob) {
    findings.warn(label, path.string() + " is missing; the daemon does not need it: inferdctl pull writes it");
  } else {
    findings.wrong(label, path.string() + " is missing: inferdctl pull");
  }
}

// Nothing is hashed: that is what verify is for. `models` is an error if there is no store yet.
void examine_model(const ModelSource& source, const ConfiguredModels& configured, const Result<store::ModelStore>& models,
                   Findings& findings) {
  const std::string label = "model[" + source.name + "]";
  const auto name = store::ModelName::parse(source.name);
  const auto id = store::BlobId::parse(source.sha256);
  if (!name || !id) return findings.wrong(label, (name ? id.error() : name.error()).message + ": mend the config file");
  const store::StorePaths paths(configured.store_root);
  const auto bytes = models ? models->blob_bytes(*id) : std::nullopt;
  const auto manifest = models ? models->manifest(*name) : Result<store::Manifest>(std::unexpected(models.error()));
  const std::string blob = paths.blob(*id).string();
  if (!bytes) {
    findings.wrong(label, blob + " is missing: inferdctl pull");
  } else if (const uint64_t size = *bytes; manifest && manifest->blob_id() == *id && manifest->size_bytes != size) {
    findings.wrong(label, blob + " has " + std::to_string(size) + " bytes, its manifest says " + std::to_string(manifest->size_bytes) +
                              ": " + replace_advice(source.name));
  } else {
    findings.ok(label, size_text(*bytes) + " at " + blob);
  }
  examine_manifest(source, *id, paths.manifest(*name), manifest, bytes.has_value(), findings);
}

// The folder itself, or the nearest one above it that is there.
fs::path nearest_folder(const fs::path& path) {
  std::error_code error;
  fs::path at = fs::absolute(path, error).lexically_normal();
  while (at.has_relative_path() && !fs::exists(at, error)) at = at.parent_path();
  return at;
}

// What the missing models will need at most; a size that the config file does not say counts as nothing.
uint64_t bytes_to_pull(const ConfiguredModels& configured, const Result<store::ModelStore>& models) {
  uint64_t bytes = 0;
  for (const ModelSource& source : configured.models) {
    const auto id = store::BlobId::parse(source.sha256);
    if (id && !(models && models->blob_bytes(*id))) bytes += source.size_bytes.value_or(0);
  }
  return bytes;
}

void examine_store(const ConfiguredModels& configured, const Result<store::ModelStore>& models, Findings& findings) {
  const std::string root = configured.store_root.string();
  const fs::path folder = nearest_folder(configured.store_root);
  if (auto writable = os::check_writable_folder(folder); !writable) {
    const std::string why = writable.error().message + ": nothing can be pulled; give the folder to this user, or set models_home";
    return models ? findings.warn("store", why) : findings.wrong("store", why);
  }
  std::error_code error;
  const auto space = fs::space(folder, error);
  if (error) return findings.warn("store", root + ": the free space is not known: " + error.message());
  const uint64_t needed = bytes_to_pull(configured, models), spare = store::DownloadOptions().spare_bytes;
  const uint64_t room = space.available - std::min<uint64_t>(space.available, spare);
  if (needed > room) {
    return findings.wrong("store", root + ": " + size_text(needed) + " are missing, and there is room for " + size_text(room) +
                                       ": make some, or set models_home to another file system");
  }
  findings.ok("store", root + (models ? ", " : " (the first pull makes it), ") + size_text(space.available) + " free");
}

void examine_garbage(const ConfiguredModels& configured, const Result<store::ModelStore>& models, Findings& findings) {
  if (!models) return;
  const auto garbage = find_garbage(*models, configured);
  if (!garbage) return findings.wrong("garbage", garbage.error().message);
  if (garbage->empty()) return findings.ok("garbage", "none");
  findings.warn("garbage", amount_text(*garbage) + " that nothing needs: inferdctl gc");
}

void examine_secrets(const Effective& effective, Findings& findings) {
  const auto checked = check_keys(effective);
  if (checked) return findings.ok("secrets", "every key that the config file names is there");
  // A variable that is not set here may be set for the daemon; a key file is the same file for both.
  const std::string& why = checked.error().message;
  if (checked.error().code == Code::kUsage) return findings.warn("secrets", why + " (as seen from here): set it for the daemon");
  findings.wrong("secrets", why);
}

void examine_log_folder(Findings& findings) {
  const fs::path folder = os::default_log_directory();
  const auto writable = os::check_writable_folder(nearest_folder(folder));
  if (writable) return findings.ok("logs", folder.string());
  findings.wrong("logs", folder.string() + ": " + writable.error().message + ": give the folder to this user, or set INFERD_LOG_DIR");
}

void examine_sandbox(Findings& findings) {
  const auto version = os::landlock_version();
  if (version) return findings.ok("sandbox", "Landlock ABI " + std::to_string(*version));
  findings.warn("sandbox", "the engine runs without " + version.error().message);
}

std::string flag_text(const client::StatusEvent& event, const char* name) {
  const auto at = event.fields.find(name);
  const bool* value = at == event.fields.end() ? nullptr : std::get_if<bool>(&at->second);
  return std::string(" ") + name + (value != nullptr && *value ? "=true" : "=false");
}

void show_backend(const client::StatusEvent& event, Findings& findings) {
  std::string detail = "backend=" + event.text("backend") + " accelerator=" + event.text("accelerator") +
                       " gpu_layers=" + std::to_string(static_cast<uint64_t>(event.number("gpu_layers")));
  for (const char* name : {"v2", "vision", "audio", "tools", "thinking", "embed"}) detail += flag_text(event, name);
  findings.ok("backend", detail + " name=" + event.text("name"));
}

// The snapshot: the capabilities of every backend, then the lifecycle status.
void examine_daemon(const GlobalOptions& global, Findings& findings) {
  auto stream = client::StatusStream::connect(global.admin_socket);
  if (!stream) return findings.wrong("admin", stream.error().message + ": start inferd-daemon, or name its socket (--admin-addr)");
  std::vector<client::StatusEvent> capabilities;
  for (size_t i = 0; i <= kMostFrames; ++i) {
    const auto event = stream->next(kFrameTime);
    if (!event) {
      findings.wrong("admin", "connected, and no status came: " + event.error().message + ": look at the daemon's log");
      break;
    }
    if (event->status == "capabilities") {
      capabilities.push_back(*event);
      continue;
    }
    const std::string detail = "status=" + event->status + " phase=" + (event->phase.empty() ? "-" : event->phase);
    if (event->status == "error") {
      findings.wrong("admin", detail + ": " + event->text("reason") + ": look at the daemon's log");
    } else {
      findings.ok("admin", detail);
    }
    if (const std::string warning = event->text("warning"); !warning.empty()) findings.warn("admin", warning);
    break;
  }
  for (const client::StatusEvent& event : capabilities) show_backend(event, findings);
}

}  // namespace

int diagnose(const GlobalOptions& global) {
  Findings findings(global.json);
  auto configured = read_configured_models(global);
  std::optional<Effective> effective;
  if (configured) {
    effective = examine_config(*configured, findings);
  } else {
    findings.wrong("config", configured.error().message);
    configured = ConfiguredModels{.config_path = config_path(global), .file = std::nullopt};
  }
  const auto models = store::ModelStore::open_to_read(configured->store_root);
  for (const ModelSource& source : configured->models) examine_model(source, *configured, models, findings);
  examine_store(*configured, models, findings);
  examine_garbage(*configured, models, findings);
  if (effective) examine_secrets(*effective, findings);
  examine_log_folder(findings);
  examine_sandbox(findings);
  examine_daemon(global, findings);
  return findings.any_wrong() ? kSomethingWrong : kOk;
}

}  // namespace inferd::ctl
