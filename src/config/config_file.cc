#include "config/config_file.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/json_text.h"
#include "base/utf8.h"
#include "config/config_table.h"
#include "config/json_tree.h"
#include "config/nearest_name.h"
#include "os/input_file.h"
#include "os/paths.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
using Type = JsonTree::Type;
constexpr size_t kMaxWarnings = 32;
constexpr size_t kMostShown = 80;

std::string short_text(std::string_view text) {
  return json_text(text.size() > kMostShown ? std::string(cut_utf8(text, kMostShown)) + "..." : std::string(text));
}

// Keys that people write as comments, and the one by which editors find the schema.
bool is_comment(std::string_view key) {
  return key.starts_with('$') || key.starts_with('_') || key.starts_with('/') || key.starts_with('#');
}

// The value of a scalar; nothing if the JSON type is another one than the field's.
std::optional<FieldValue> scalar(FieldType type, const JsonTree& tree) {
  if (type == FieldType::kBool && tree.type == Type::kBool) return FieldValue(tree.boolean);
  if (type == FieldType::kText && tree.type == Type::kText) return FieldValue(tree.text);
  if (type != FieldType::kInteger || tree.type != Type::kNumber) return std::nullopt;
  int64_t number = 0;
  const char* end = tree.text.data() + tree.text.size();
  const auto read = std::from_chars(tree.text.data(), end, number);
  return read.ec == std::errc() && read.ptr == end ? std::optional<FieldValue>(number) : std::nullopt;  // else 1.5, 1e400, 2^64
}

// What stands in the file, as an error may show it.
std::string written(const ConfigField& field, const JsonTree& tree) {
  switch (tree.type) {
    case Type::kNull:
      return "null";
    case Type::kBool:
      return tree.boolean ? "true" : "false";
    case Type::kNumber:
      return tree.text.substr(0, kMostShown);
    case Type::kText:
      return shown(field, tree.text);
    case Type::kArray:
      return "an array";
    case Type::kObject:
      return "an object";
  }
  return {};
}

class Reader {
 public:
  explicit Reader(ConfigFile& config) : config_(config) {}
  Status read(const JsonTree& tree);

 private:
  using Members = std::vector<const JsonTree*>;  // one for each field of an object; null: absent, or null where it may be

  std::unexpected<Error> wrong(const std::string& path, const std::string& what) const {
    const std::string where = path.empty() ? "" : path + ": ";
    return fail(Code::kUsage, config_.path.string() + ": " + where + what);
  }
  Result<Members> members_of(const JsonTree& tree, const ConfigObject& object, const std::string& path);
  Status read_fields(const Members& members, const ConfigObject& object, void* owner, const std::string& path);
  Status read_object(const JsonTree& tree, const ConfigObject& object, void* owner, const std::string& path);
  Status read_value(const JsonTree& tree, const ConfigField& field, void* owner, const std::string& path);
  Result<FieldValue> value_of(const JsonTree& tree, const ConfigField& field, const std::string& path) const;
  Result<const BackendKind*> kind_of_entry(const JsonTree& tree, const std::string& path) const;
  Status read_entries(const JsonTree& tree);
  Status read_entry(const JsonTree& tree, const std::string& path);
  void warn_unknown(std::string_view key, const ConfigObject& object, const std::string& path);
  void warn_without_effect();
  void warn(const std::string& path, const std::string& what);
  void promote_single_model();

  ConfigFile& config_;
  std::set<std::string> names_;  // of backends so far
};

Status Reader::read(const JsonTree& tree) {
  auto members = members_of(tree, config_root(), "");
  if (!members) return std::unexpected(members.error());
  const auto has = [&](std::string_view name) {
    const auto fields = config_root().fields;
    const auto at = std::ranges::find(fields, name, &ConfigField::name);
    return (*members)[static_cast<size_t>(at - fields.begin())] != nullptr;
  };
  if (has("model") && has("backends")) return wrong("", "`model` and `backends` are mutually exclusive: keep one of them");
  if (!has("model") && !has("backends")) return wrong("", "the file must specify either `backends` or the single `model`");
  if (auto read = read_fields(*members, config_root(), &config_, ""); !read) return read;
  warn_without_effect();
  promote_single_model();
  return {};
}

Result<Reader::Members> Reader::members_of(const JsonTree& tree, const ConfigObject& object, const std::string& path) {
  if (tree.type != Type::kObject) return wrong(path, "expected an object");
  Members found(object.fields.size(), nullptr);
  for (size_t i = 0; i < tree.keys.size(); ++i) {
    const std::string& key = tree.keys[i];
    if (!object.kind.empty() && key == "kind") continue;
    const auto field = std::ranges::find(object.fields, std::string_view(key), &ConfigField::name);
    if (field == object.fields.end()) {
      warn_unknown(key, object, path);
      continue;
    }
    const JsonTree*& slot = found[static_cast<size_t>(field - object.fields.begin())];
    if (slot != nullptr) return wrong(path_of_member(path, key), "duplicate field: it may be given once");
    slot = &tree.elements[i];
  }
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i] != nullptr && found[i]->type == Type::kNull && !object.fields[i].required) found[i] = nullptr;
  }
  return found;
}

Status Reader::read_fields(const Members& members, const ConfigObject& object, void* owner, const std::string& path) {
  for (size_t i = 0; i < members.size(); ++i) {
    const ConfigField& field = object.fields[i];
    const std::string at = path_of_member(path, field.name);
    if (members[i] == nullptr) {
      if (field.required) return wrong(at, "missing: expected " + expectation(field));
      continue;
    }
    if (auto read = read_value(*members[i], field, owner, at); !read) return read;
    if (!field.excludes.empty() && config_.given.contains(path_of_member(path, field.excludes))) {
      return wrong(at, "given besides `" + std::string(field.excludes) + "`: keep one of them");
    }
    config_.given.insert(at);
  }
  return {};
}

Status Reader::read_object(const JsonTree& tree, const ConfigObject& object, void* owner, const std::string& path) {
  auto members = members_of(tree, object, path);
  if (!members) return std::unexpected(members.error());
  return read_fields(*members, object, owner, path);
}

Status Reader::read_value(const JsonTree& tree, const ConfigField& field, void* owner, const std::string& path) {
  if (field.binding.type == FieldType::kEntries) return read_entries(tree);
  if (field.binding.type == FieldType::kObject) {
    if (tree.type != Type::kObject) return wrong(path, written(field, tree) + ": expected an object");
    return read_object(tree, *field.object, field.binding.open(owner), path);
  }
  auto value = value_of(tree, field, path);
  if (!value) return std::unexpected(value.error());
  field.binding.set(owner, *value);
  return {};
}

Result<FieldValue> Reader::value_of(const JsonTree& tree, const ConfigField& field, const std::string& path) const {
  if (field.binding.type != FieldType::kTextList) {
    auto value = scalar(field.binding.type, tree);
    if (!value || !fits(field, *value)) return wrong(path, written(field, tree) + ": expected " + expectation(field));
    return std::move(*value);
  }
  if (tree.type != Type::kArray || tree.elements.size() > kMaxListLength) {
    return wrong(path, written(field, tree) + ": expected " + expectation(field));
  }
  ConfigField each = field;
  each.binding.type = FieldType::kText;
  std::vector<std::string> list;
  for (const JsonTree& one : tree.elements) {
    const auto value = scalar(FieldType::kText, one);
    if (!value || !fits(each, *value)) {
      return wrong(path_of_element(path, list.size()), written(each, one) + ": expected " + expectation(each));
    }
    list.push_back(one.text);
  }
  return FieldValue(std::move(list));
}

Status Reader::read_entries(const JsonTree& tree) {
  const auto& fields = config_root().fields;
  const ConfigField& field = *std::ranges::find(fields, FieldType::kEntries, [](const ConfigField& f) { return f.binding.type; });
  const std::string path(field.name);
  if (tree.type != Type::kArray) return wrong(path, written(field, tree) + ": expected " + expectation(field));
  if (tree.elements.empty()) return wrong(path, "must not be empty: expected " + expectation(field));
  if (tree.elements.size() > kMaxBackends) {
    return wrong(path, std::to_string(tree.elements.size()) + " entries: expected " + expectation(field));
  }
  for (size_t i = 0; i < tree.elements.size(); ++i) {
    if (auto read = read_entry(tree.elements[i], path_of_element(path, i)); !read) return read;
  }
  return {};
}

Result<const BackendKind*> Reader::kind_of_entry(const JsonTree& tree, const std::string& path) const {
  if (tree.type != Type::kObject) return wrong(path, "expected an object");
  const JsonTree* tag = nullptr;
  for (size_t i = 0; i < tree.keys.size(); ++i) {
    if (tree.keys[i] != "kind") continue;
    if (tag != nullptr) return wrong(path_of_member(path, "kind"), "duplicate field: it may be given once");
    tag = &tree.elements[i];
  }
  std::vector<std::string_view> names;
  std::string list;
  for (const BackendKind& kind : backend_kinds()) {
    if (tag != nullptr && tag->type == Type::kText && tag->text == kind.object->kind) return &kind;
    names.push_back(kind.object->kind);
    list += (list.empty() ? "\"" : ", \"") + std::string(kind.object->kind) + "\"";
  }
  if (tag == nullptr) return wrong(path_of_member(path, "kind"), "missing: expected one of " + list);
  std::string suggestion;
  if (tag->type == Type::kText) {
    if (const auto nearest = nearest_name(tag->text, names)) suggestion = " (did you mean \"" + std::string(*nearest) + "\"?)";
  }
  const std::string value = tag->type == Type::kText ? short_text(tag->text) : written(ConfigField{}, *tag);
  return wrong(path_of_member(path, "kind"), value + ": expected one of " + list + suggestion);
}

Status Reader::read_entry(const JsonTree& tree, const std::string& path) {
  auto kind = kind_of_entry(tree, path);
  if (!kind) return std::unexpected(kind.error());
  BackendEntry& entry = config_.backends.emplace_back((*kind)->make());
  if (auto read = read_object(tree, *(*kind)->object, address_of(entry), path); !read) return read;
  if (!names_.insert(name_of(entry)).second) {
    return wrong(path_of_member(path, "name"), short_text(name_of(entry)) + ": duplicate name: expected one that no other entry has");
  }
  return {};
}

void Reader::warn_unknown(std::string_view key, const ConfigObject& object, const std::string& path) {
  if (is_comment(key)) return;
  std::vector<std::string_view> names;
  for (const ConfigField& field : object.fields) names.push_back(field.name);
  const auto nearest = nearest_name(key, names);
  warn(path, "unknown field " + short_text(key) + " is ignored" + (nearest ? " (did you mean \"" + std::string(*nearest) + "\"?)" : ""));
}

void Reader::warn_without_effect() {
  if (config_.given.contains("admin_addr")) warn("admin_addr", "has no effect: use --admin-addr or INFERD_ADMIN_ADDR");
  if (config_.model) return;
  for (const char* name : {"n_ctx", "n_gpu_layers"}) {
    if (config_.given.contains(name)) warn(name, "has no effect besides `backends`: set it in each entry");
  }
}

void Reader::warn(const std::string& path, const std::string& what) {
  if (config_.warnings.size() == kMaxWarnings) config_.warnings.push_back(config_.path.string() + ": and more like these");
  if (config_.warnings.size() > kMaxWarnings) return;
  config_.warnings.push_back(config_.path.string() + ": " + (path.empty() ? "" : path + ": ") + what);
}

// Spec 05 §2.1. The fields are given under their new paths from here on.
void Reader::promote_single_model() {
  if (!config_.model) return;
  LlamacppEntry entry;
  entry.name = config_.model->name;
  entry.model = std::move(*config_.model);
  entry.n_ctx = config_.n_ctx;
  entry.n_gpu_layers = config_.n_gpu_layers;
  config_.backends.emplace_back(std::move(entry));
  config_.model.reset();
  std::set<std::string, std::less<>> given = {"backends", "backends[0].name"};
  for (const std::string& path : config_.given) {
    const bool moves = path == "model" || path.starts_with("model.") || path == "n_ctx" || path == "n_gpu_layers";
    given.insert(moves ? "backends[0]." + path : path);
  }
  config_.given = std::move(given);
}

}  // namespace

const std::string& name_of(const BackendEntry& entry) {
  return std::visit([](const auto& one) -> const std::string& { return one.name; }, entry);
}

void* address_of(BackendEntry& entry) {
  return std::visit([](auto& one) -> void* { return &one; }, entry);
}

const void* address_of(const BackendEntry& entry) {
  return std::visit([](const auto& one) -> const void* { return &one; }, entry);
}

std::vector<std::string> urls_of(const ModelSource& model) {
  if (model.source_url.empty()) return {};
  std::vector<std::string> urls{model.source_url};
  urls.insert(urls.end(), model.source_urls.begin(), model.source_urls.end());
  return urls;
}

fs::path expand_home(const std::string& path) {
  if (!path.starts_with("~/") && !path.starts_with("~\\")) return path;
  return fs::path(os::env("HOME").value_or(".")) / path.substr(2);
}

Result<ConfigFile> read_config(std::string_view text, const fs::path& path) {
  auto tree = parse_json_tree(text);
  if (!tree) return fail(tree.error().code, path.string() + ": no JSON: " + tree.error().message);
  ConfigFile config;
  config.path = path;
  if (auto read = Reader(config).read(*tree); !read) return std::unexpected(read.error());
  return config;
}

Result<std::optional<ConfigFile>> load_config_file(const fs::path& path) {
  auto text = os::read_stream(path, kMaxConfigBytes);
  if (!text) {
    std::error_code ignored;
    const bool dangling = fs::is_symlink(fs::symlink_status(path, ignored));
    if (text.error().code == Code::kNotFound && !dangling) return std::nullopt;
    return fail(text.error().code, "config file " + text.error().message);
  }
  auto config = read_config(*text, path);
  if (!config) return std::unexpected(config.error());
  return std::move(*config);
}

}  // namespace inferd
