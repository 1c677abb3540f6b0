#include "store/import.h"

#include <cstdio>

#include "base/json_text.h"
#include "base/size_text.h"
#include "base/utf8.h"
#include "ctl/commands.h"
#include "ctl/configured_models.h"
#include "ctl/json_line.h"
#include "ctl/model_text.h"
#include "ctl/stop_on_interrupt.h"
#include "ctl/store_progress.h"

namespace inferd::ctl {
namespace {

struct How {
  const char* word;  // for programs
  std::string text;
};

How how_of(std::optional<os::CopyKind> kind, const std::string& file) {
  if (!kind) return {"was_there", "the store had it already"};
  switch (*kind) {
    case os::CopyKind::kReflink: return {"reflink", "reflink (no bytes were copied)"};
    case os::CopyKind::kHardLink: return {"hard_link", "hard link (" + file + " is the blob itself now: do not write to it)"};
    case os::CopyKind::kCopy: return {"copy", "copy"};
  }
  return {"copy", "copy"};
}

// The `model` of a config entry; where other machines would fetch it from is for the operator to fill in.
std::string config_snippet(const std::string& name, const store::Imported& imported) {
  return "\"model\": {\"name\": " + json_text(name) + ", \"sha256\": \"" + imported.id.hex() +
         "\", \"size_bytes\": " + std::to_string(imported.bytes) + ", \"source_url\": \"https://...\"}";
}

void show(const std::string& name, const std::string& file, const store::Imported& imported, bool json) {
  const How how = how_of(imported.kind, printable(file));
  if (json) {
    JsonLine().text("event", "done").text("name", name).text("sha256", imported.id.hex()).number("bytes", imported.bytes)
        .text("how", how.word).text("path", imported.blob.string()).print();
    return;
  }
  std::printf("imported %s, %s: %s\n", printable(name).c_str(), size_text(imported.bytes).c_str(), how.text.c_str());
  std::printf("sha256 %s\nblob %s\n", imported.id.hex().c_str(), imported.blob.c_str());
  std::printf("for the config file: %s\n", config_snippet(name, imported).c_str());
}

}  // namespace

int import_model(const GlobalOptions& global, const ImportOptions& options) {
  const auto configured = read_configured_models(global);
  if (!configured) return report(configured.error());
  const std::filesystem::path file = options.file;
  const std::string file_name = file.filename().string();
  const auto name = store::ModelName::parse(options.name ? std::string_view(*options.name) : model_name_of_file(file_name));
  if (!name) return report(Error{Code::kUsage, name.error().message + " (give --name NAME)"});
  std::optional<store::BlobId> expected;
  if (options.sha256) {
    const auto id = store::BlobId::parse(*options.sha256);
    if (!id) return report(id.error());
    expected = *id;
  }
  auto models = store::ModelStore::open(configured->store_root);
  if (!models) return report(models.error());
  const StopOnInterrupt interrupt;
  StoreProgress progress(global.json, name->text());
  const store::ImportHooks hooks{
      .cancelled = interrupt.stopped(),
      .progress = [&progress](std::string_view phase, uint64_t bytes, uint64_t total) { progress.show(phase, bytes, total); }};
  const auto imported = store::import_file(*models, file, *name, expected, "inferd/" INFERD_VERSION, hooks);
  progress.clear();
  if (!imported && interrupt.stopped()) return report_interrupted("nothing was imported");
  if (!imported) return report(imported.error());
  show(name->text(), file.string(), *imported, global.json);
  return kOk;
}

}  // namespace inferd::ctl
