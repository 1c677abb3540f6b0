#include "config/schema.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/json_text.h"
#include "config/config_table.h"

namespace inferd {
namespace {

// Compact JSON with line ends and two spaces a level. Empty objects and arrays stay together.
std::string indented(std::string_view compact) {
  std::string out;
  size_t level = 0;
  bool in_text = false;
  const auto new_line = [&] {
    out += '\n';
    out.append(2 * level, ' ');
  };
  for (size_t i = 0; i < compact.size(); ++i) {
    const char c = compact[i];
    const bool escaped = in_text && c == '\\';
    if (c == '"') in_text = !in_text;
    if (escaped) {
      out.append(compact.substr(i++, 2));
      continue;
    }
    if (!in_text && (c == '}' || c == ']')) {
      --level;
      if (compact[i - 1] != '{' && compact[i - 1] != '[') new_line();
    }
    out += c;
    if (in_text || c == '"') continue;
    if (c == '{' || c == '[') {
      ++level;
      if (compact[i + 1] != '}' && compact[i + 1] != ']') new_line();
    } else if (c == ',') {
      new_line();
    } else if (c == ':') {
      out += ' ';
    }
  }
  return out + '\n';
}

std::string type_name(FieldType type) {
  switch (type) {
    case FieldType::kBool:
      return "boolean";
    case FieldType::kInteger:
      return "integer";
    case FieldType::kText:
      return "string";
    case FieldType::kTextList:
    case FieldType::kEntries:
      return "array";
    case FieldType::kObject:
      return "object";
  }
  return {};
}

// What a rule is in JSON Schema's words; applies to strings only, so null may stand beside it.
std::string rule_of(const ConfigField& field) {
  switch (field.rule) {
    case TextRule::kAny:
    case TextRule::kLogFilter:
      return "";
    case TextRule::kNotEmpty:
      return ",\"minLength\":1";
    case TextRule::kNotBlank:
      return ",\"pattern\":\"\\\\S\"";
    case TextRule::kHttpsUrl:
      return ",\"pattern\":\"^https://\"";
    case TextRule::kHttpUrl:
      return ",\"pattern\":\"^https?://\"";
    case TextRule::kSha256:
      return ",\"pattern\":\"^[0-9a-f]{64}$\"";
    case TextRule::kVariable:
      return ",\"pattern\":\"^[A-Za-z_][A-Za-z0-9_]*$\"";
    case TextRule::kPath:
      return ",\"pattern\":\"^(/|~/)\"";
    case TextRule::kChoice: {
      std::string list = ",\"enum\":[";
      for (const std::string_view choice : field.choices) list += json_text(choice) + ",";
      if (field.required) {
        list.pop_back();
        return list + "]";
      }
      return list + "null]";
    }
  }
  return {};
}

std::string properties_of(const ConfigObject& object);

std::string entries_schema() {
  std::string kinds, forms;
  for (const BackendKind& kind : backend_kinds()) {
    const std::string name = json_text(kind.object->kind);
    kinds += (kinds.empty() ? "" : ",") + name;
    forms += (forms.empty() ? "" : ",") + std::string("{\"title\":") + json_text(kind.object->title) + ",\"type\":\"object\"," +
             properties_of(*kind.object) + "}";
  }
  return ",\"minItems\":1,\"maxItems\":" + std::to_string(kMaxBackends) +
         ",\"items\":{\"type\":\"object\",\"properties\":{\"kind\":{\"enum\":[" + kinds +
         "]}},\"required\":[\"kind\"],\"oneOf\":[" + forms + "]}";
}

std::string field_schema(const ConfigField& field) {
  const std::string name = json_text(type_name(field.binding.type));
  std::string out = "{\"description\":" + json_text(field.doc) + ",\"type\":" + (field.required ? name : "[" + name + ",\"null\"]");
  switch (field.binding.type) {
    case FieldType::kInteger:
      out += ",\"minimum\":" + std::to_string(field.min) + ",\"maximum\":" + std::to_string(field.max);
      break;
    case FieldType::kText:
      out += rule_of(field);
      break;
    case FieldType::kTextList:
      out += ",\"maxItems\":" + std::to_string(kMaxListLength) + ",\"items\":{\"type\":\"string\"" + rule_of(field) + "}";
      break;
    case FieldType::kObject:
      out += "," + properties_of(*field.object);
      break;
    case FieldType::kEntries:
      out += entries_schema();
      break;
    case FieldType::kBool:
      break;
  }
  if (!field.fallback.empty()) out += ",\"default\":" + std::string(field.fallback);
  if (field.legacy) out += ",\"deprecated\":true";
  return out + "}";
}

// Two fields that exclude each other: not both as strings (null is absent).
std::string exclusions_of(const ConfigObject& object) {
  std::string out;
  for (const ConfigField& field : object.fields) {
    if (field.excludes.empty()) continue;
    const auto is_text = [](std::string_view name) { return json_text(name) + ":{\"type\":\"string\"}"; };
    out += ",\"not\":{\"properties\":{" + is_text(field.excludes) + "," + is_text(field.name) + "},\"required\":[" +
           json_text(field.excludes) + "," + json_text(field.name) + "]}";
  }
  return out;
}

// "properties", "required" and what excludes each other, without the braces around them.
std::string properties_of(const ConfigObject& object) {
  std::string properties, required;
  const auto require = [&](std::string_view name) { required += (required.empty() ? "" : ",") + json_text(name); };
  if (!object.kind.empty()) {
    properties = "\"kind\":{\"const\":" + json_text(object.kind) + "}";
    require("kind");
  }
  for (const ConfigField& field : object.fields) {
    properties += (properties.empty() ? "" : ",") + json_text(field.name) + ":" + field_schema(field);
    if (field.required) require(field.name);
  }
  return "\"properties\":{" + properties + "}" + (required.empty() ? "" : ",\"required\":[" + required + "]") + exclusions_of(object);
}

std::string code(std::string_view text) { return "`" + std::string(text) + "`"; }

std::string bounds_of(const ConfigField& field) {
  if (field.binding.type == FieldType::kObject) return "object";
  return expectation(field);
}

std::string beaten_by(const ConfigField& field) {
  if (field.option.empty()) return "";
  return field.option_value.get == nullptr ? std::string(field.option) : code(field.option) + ", " + code(variable_of(field.option));
}

std::string rows_of(const ConfigObject& object) {
  std::string out = "| field | value | default | beaten by | meaning |\n|---|---|---|---|---|\n";
  if (!object.kind.empty()) out += "| `kind` | " + code(json_text(object.kind)) + " | required | | Says what the entry is. |\n";
  for (const ConfigField& field : object.fields) {
    const std::string fallback = field.required ? "required" : field.fallback.empty() ? "" : code(field.fallback);
    out += "| " + code(field.name) + " | " + bounds_of(field) + " | " + fallback + " | " + beaten_by(field) + " | " +
           std::string(field.doc) + " |\n";
  }
  return out;
}

// The tables of what stands below an object. Fields of one form (`v1`, `v2` and `embed` of `access`) share a table.
std::string tables_below(const ConfigObject& object, const std::string& path) {
  std::string out;
  std::vector<const ConfigObject*> written;
  for (const ConfigField& field : object.fields) {
    if (field.object == nullptr || std::ranges::find(written, field.object) != written.end()) continue;
    written.push_back(field.object);
    std::string title;
    for (const ConfigField& other : object.fields) {
      if (other.object == field.object) title += (title.empty() ? "" : ", ") + code(path_of_member(path, other.name));
    }
    out += "\n### " + title + "\n\n" + rows_of(*field.object) + tables_below(*field.object, path_of_member(path, field.name));
  }
  return out;
}

}  // namespace

std::string config_schema() {
  return indented("{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":" + json_text(config_root().title) +
                  ",\"type\":\"object\"," + properties_of(config_root()) +
                  ",\"oneOf\":[{\"required\":[\"model\"],\"properties\":{\"model\":{\"type\":\"object\"}}},"
                  "{\"required\":[\"backends\"],\"properties\":{\"backends\":{\"type\":\"array\"}}}]}");
}

std::string config_reference() {
  std::string out = "### The file\n\n" + rows_of(config_root()) + tables_below(config_root(), "");
  for (const BackendKind& kind : backend_kinds()) {
    out += "\n### An entry of `backends` of kind `" + std::string(kind.object->kind) + "`\n\n" + rows_of(*kind.object);
  }
  return out;
}

}  // namespace inferd
