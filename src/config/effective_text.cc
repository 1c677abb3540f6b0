#include "config/effective_text.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/json_text.h"
#include "base/utf8.h"
#include "config/config_table.h"
#include "os/paths.h"

namespace inferd {
namespace {

using From = ValueSource::From;

constexpr std::array<std::string_view, 4> kSourceNames = {"default", "file", "environment", "command line"};  // in the order of From

// Options without a field of the file. Their values are shown by a rule-less field.
struct OptionRow {
  std::string_view option;
  Binding value;
};
constexpr OptionRow kOptionRows[] = {
    {"--backend", member<&DaemonOptions::backend>()},     {"--lock", member<&DaemonOptions::lock>()},
    {"--tcp", member<&DaemonOptions::tcp>()},             {"--uds", member<&DaemonOptions::uds>()},
    {"--pipe", member<&DaemonOptions::pipe>()},           {"--group", member<&DaemonOptions::group>()},
    {"--admin-addr", member<&DaemonOptions::admin_addr>()}, {"--v2", member<&DaemonOptions::v2>()},
    {"--v2-addr", member<&DaemonOptions::v2_addr>()},     {"--v2-tcp", member<&DaemonOptions::v2_tcp>()},
    {"--embed", member<&DaemonOptions::embed>()},         {"--embed-addr", member<&DaemonOptions::embed_addr>()},
    {"--embed-tcp", member<&DaemonOptions::embed_tcp>()},
};

class Collector {
 public:
  explicit Collector(const Effective& effective) : effective_(effective) {}
  std::vector<Setting> collect();

 private:
  void add(const std::string& path, std::string value, ValueSource source) {
    settings_.push_back({path, std::move(value), std::move(source)});
  }
  ValueSource source_of(std::string_view path) const {
    const auto found = effective_.sources.find(path);
    return found != effective_.sources.end() ? found->second : ValueSource{};
  }
  void add_options();
  void add_paths();
  void add_fields(const ConfigObject& object, const void* owner, const std::string& path);
  void add_entry(const BackendEntry& entry, const std::string& path);
  void add_key(const std::string& path, std::string_view option, bool option_set, const std::optional<std::string>& file,
               const std::optional<std::string>& variable);

  const Effective& effective_;
  std::vector<Setting> settings_;
};

std::vector<Setting> Collector::collect() {
  add_options();
  add_paths();
  const ListenSettings& listen = effective_.config.listen;
  add_key("listen.api_key", "--api-key", effective_.options.api_key.has_value(), listen.api_key_file, listen.api_key_env);
  add_fields(config_root(), &effective_.config, "");
  for (size_t i = 0; i < effective_.config.backends.size(); ++i) {
    add_entry(effective_.config.backends[i], path_of_element("backends", i));
  }
  return std::move(settings_);
}

void Collector::add_options() {
  for (const OptionRow& row : kOptionRows) {
    const auto given = effective_.options.given.find(row.option);
    if (given == effective_.options.given.end()) continue;
    add(std::string(row.option), shown(ConfigField{.binding = row.value}, row.value.get(&effective_.options)), given->second);
  }
}

// What stands in the runtime folder if nothing else was said.
void Collector::add_paths() {
  const DaemonOptions& options = effective_.options;
  const auto folder = os::runtime_directory();
  if (!options.lock) add("--lock", json_text((folder / "inferd.lock").string()), {});
  if (!options.admin_addr) add("--admin-addr", json_text((folder / "admin.sock").string()), {});
  if (!options.tcp && !options.uds && !options.pipe) add("--uds", json_text((folder / "infer.sock").string()), {});
}

void Collector::add_fields(const ConfigObject& object, const void* owner, const std::string& path) {
  for (const ConfigField& field : object.fields) {
    const std::string at = path_of_member(path, field.name);
    if (field.legacy || field.binding.type == FieldType::kEntries) continue;
    if (field.binding.type == FieldType::kObject) {
      const void* inner = field.binding.find(owner);
      const size_t before = settings_.size();
      if (inner != nullptr) add_fields(*field.object, inner, at);
      // An object that is there and says nothing is another setting than none (`access.v1`).
      if (settings_.size() == before) add(at, inner != nullptr ? "{}" : "null", source_of(at));
      continue;
    }
    const ValueSource source = source_of(at);
    const FieldValue value = field.binding.get(owner);
    std::string text = shown(field, value);
    if (std::holds_alternative<std::monostate>(value) && !field.fallback.empty()) text = field.fallback;
    const bool empty = text == "\"\"" || text == "[]";  // of an entry that the command line made
    if (source.from != From::kDefault || !empty) add(at, std::move(text), source);
  }
}

void Collector::add_entry(const BackendEntry& entry, const std::string& path) {
  add(path + ".kind", json_text(kind_of(entry)), source_of(path + ".name"));
  const ConfigObject* object = object_of(entry);
  if (object != nullptr) add_fields(*object, address_of(entry), path);
  if (const auto* llamacpp = std::get_if<LlamacppEntry>(&entry); llamacpp != nullptr && llamacpp->model_path) {
    add(path + ".model_path", json_text(llamacpp->model_path->string()), source_of(path + ".model_path"));
  }
  if (const auto* openai = std::get_if<OpenaiEntry>(&entry)) {
    add_key(path + ".api_key", "--openai-api-key", effective_.options.openai_api_key && !openai->api_key_env && !openai->api_key_file,
            openai->api_key_file, openai->api_key_env ? openai->api_key_env : std::optional<std::string>("OPENAI_API_KEY"));
  }
  if (const auto* bedrock = std::get_if<BedrockEntry>(&entry)) {
    add_key(path + ".bearer_token", "--bedrock-bearer-token", false, bedrock->api_key_file, bedrock->bearer_token_env);
  }
}

void Collector::add_key(const std::string& path, std::string_view option, bool option_set, const std::optional<std::string>& file,
                        const std::optional<std::string>& variable) {
  const auto given = effective_.options.given.find(option);
  if (option_set && given != effective_.options.given.end()) return add(path, "\"set\"", given->second);
  if (file) return add(path, "\"set\"", {From::kFile, *file});
  if (variable && os::env(variable->c_str())) return add(path, "\"set\"", {From::kEnvironment, *variable});
  add(path, "\"not set\"", {});
}

}  // namespace

std::vector<Setting> settings_of(const Effective& effective) { return Collector(effective).collect(); }

std::string describe(const ValueSource& source) {
  const std::string what(kSourceNames[static_cast<size_t>(source.from)]);
  return source.name.empty() ? what : what + " " + printable(source.name);
}

std::string to_lines(const Effective& effective) {
  const auto settings = settings_of(effective);
  size_t widest_path = 0, widest_value = 0;
  for (const Setting& setting : settings) {
    widest_path = std::max(widest_path, setting.path.size());
    widest_value = std::max(widest_value, std::min<size_t>(setting.value.size(), 40));  // a long one moves its own source only
  }
  const auto padded = [](const std::string& text, size_t width) {
    return text + std::string(width > text.size() ? width - text.size() : 0, ' ');
  };
  std::string out;
  for (const Setting& setting : settings) {
    out += padded(setting.path, widest_path) + "  " + padded(setting.value, widest_value) + "  " + describe(setting.source) + "\n";
  }
  for (const std::string& warning : effective.config.warnings) out += "warning: " + warning + "\n";
  return out;
}

std::string to_json(const Effective& effective) {
  const std::string path = effective.config.path.string();
  std::string out = "{\"file\":" + (path.empty() ? std::string("null") : json_text(path)) + ",\"settings\":[";
  bool first = true;
  for (const Setting& setting : settings_of(effective)) {
    if (!first) out += ',';
    first = false;
    out += "{\"path\":" + json_text(setting.path) + ",\"value\":" + setting.value + ",\"source\":" +
           json_text(kSourceNames[static_cast<size_t>(setting.source.from)]) +
           ",\"name\":" + (setting.source.name.empty() ? std::string("null") : json_text(setting.source.name)) + "}";
  }
  out += "],\"warnings\":[";
  for (const std::string& warning : effective.config.warnings) {
    if (out.back() != '[') out += ',';
    out += json_text(warning);
  }
  return out + "]}\n";
}

}  // namespace inferd
