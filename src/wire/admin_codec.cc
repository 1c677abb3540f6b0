#include "wire/admin_codec.h"

#include "base/json_text.h"
#include "base/utf8.h"
#include "wire/json_document.h"

namespace inferd::wire::admin {
namespace {

using Fields = std::map<std::string, std::variant<std::nullptr_t, bool, uint64_t, std::string>>;

std::string_view state_name(StatusEvent::State state) {
  switch (state) {
    case StatusEvent::State::kStarting: return "starting";
    case StatusEvent::State::kLoadingModel: return "loading_model";
    case StatusEvent::State::kReady: return "ready";
    case StatusEvent::State::kRestarting: return "restarting";
    case StatusEvent::State::kDraining: return "draining";
    case StatusEvent::State::kError: return "error";
  }
  return "error";
}

void append_fields(std::string& out, const Fields& fields) {
  out += '{';
  for (const auto& [key, value] : fields) {
    if (out.back() != '{') out += ',';
    append_json_text(out, key);
    out += ':';
    if (const auto* text = std::get_if<std::string>(&value)) {
      append_json_text(out, to_valid_utf8(*text));
    } else if (const auto* number = std::get_if<uint64_t>(&value)) {
      append_json_number(out, *number);
    } else if (const auto* flag = std::get_if<bool>(&value)) {
      out += *flag ? "true" : "false";
    } else {
      out += "null";
    }
  }
  out += "}\n";
}

}  // namespace

void append_event(std::string& out, const StatusEvent& event) {
  Fields fields = {{"id", "admin"}, {"type", "status"}, {"status", std::string(state_name(event.state))}};
  if (event.phase) {
    fields["phase"] = event.phase->name;
    for (const auto& [key, value] : event.phase->fields) {
      std::visit([&, &name = key](const auto& held) { fields[name] = held; }, value);
    }
  }
  if (!event.reason.empty()) fields["reason"] = event.reason;
  if (!event.warning.empty()) fields["warning"] = event.warning;
  append_fields(out, fields);
}

void append_event(std::string& out, const Capabilities& capabilities) {
  append_fields(out, {{"id", "admin"},
                      {"type", "status"},
                      {"status", "capabilities"},
                      {"backend", capabilities.backend},
                      {"name", capabilities.name},
                      {"v2", capabilities.v2},
                      {"vision", capabilities.vision},
                      {"audio", capabilities.audio},
                      {"tools", capabilities.tools},
                      {"thinking", capabilities.thinking},
                      {"embed", capabilities.embed},
                      {"accelerator", capabilities.accelerator},
                      {"gpu_layers", uint64_t{capabilities.gpu_layers}}});
}

double Frame::number(const std::string& name, double otherwise) const {
  const auto at = fields.find(name);
  const auto* value = at == fields.end() ? nullptr : std::get_if<double>(&at->second);
  return value == nullptr ? otherwise : *value;
}

std::string Frame::text(const std::string& name) const {
  const auto at = fields.find(name);
  const auto* value = at == fields.end() ? nullptr : std::get_if<std::string>(&at->second);
  return value == nullptr ? std::string() : *value;
}

Result<Frame> decode_frame(std::string_view line) {
  JsonDocument document;
  if (auto parsed = document.parse(line); !parsed) return std::unexpected(parsed.error());
  if (document.root().type() != JsonValue::Type::kObject) return fail(Code::kInvalidRequest, "an admin frame is no object");
  Frame frame;
  for (const JsonValue member : document.root()) {
    const auto [at, is_new] = frame.fields.try_emplace(std::string(member.key()));
    if (!is_new) return fail(Code::kInvalidRequest, "duplicate field `" + at->first + "`");
    auto& value = at->second;
    switch (member.type()) {
      case JsonValue::Type::kString: value = std::string(member.text()); break;
      case JsonValue::Type::kBool: value = member.boolean(); break;
      case JsonValue::Type::kInteger:
      case JsonValue::Type::kUnsigned:
      case JsonValue::Type::kDouble: value = member.number(); break;
      default: value = nullptr;
    }
  }
  for (const char* name : {"id", "phase", "status", "type"}) {
    const auto at = frame.fields.find(name);
    if (at != frame.fields.end() && !std::holds_alternative<std::string>(at->second)) {
      return fail(Code::kInvalidRequest, "invalid type: field `" + std::string(name) + "`: expected a string");
    }
  }
  frame.status = frame.text("status");
  frame.phase = frame.text("phase");
  if (frame.status.empty()) return fail(Code::kInvalidRequest, "an admin frame without `status`");
  return frame;
}

}  // namespace inferd::wire::admin
