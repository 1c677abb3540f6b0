#include "engine/control_marks.h"

#include <algorithm>
#include <charconv>
#include <exception>
#include <nlohmann/json.hpp>

#include "engine/random_text.h"

namespace inferd::engine {
namespace {

// Letters and digits only, so that no template filter (trim, escape, tojson) takes a mark apart.
constexpr std::string_view kMarkBegin = "inferdmark";
constexpr char kMarkEnd = 'Z';

constexpr size_t kMaxMembers = 10'000;  // llama.cpp's JSON objects look through all their members for each

// The members of all objects in a JSON text: colons outside of strings.
size_t count_members(std::string_view json) {
  size_t members = 0;
  bool in_string = false;
  for (size_t at = 0; at < json.size(); ++at) {
    if (json[at] == '"') {
      in_string = !in_string;
    } else if (in_string && json[at] == '\\') {
      ++at;
    } else if (!in_string && json[at] == ':') {
      ++members;
    }
  }
  return members;
}

}  // namespace

ControlMarks::ControlMarks(const std::vector<std::string>& controls) : controls_(controls), mark_(std::string(kMarkBegin) + random_text(20) + 'N') {
  for (const std::string& control : controls_) begins_[static_cast<unsigned char>(control.front())] = true;
}

const std::string* ControlMarks::control_at(std::string_view text, size_t at) const {
  if (!begins_[static_cast<unsigned char>(text[at])]) return nullptr;
  const auto found = std::ranges::find_if(controls_, [&](const std::string& control) { return text.compare(at, control.size(), control) == 0; });
  return found == controls_.end() ? nullptr : &*found;
}

std::string ControlMarks::mark_for(Marked marked) {
  marked_.push_back(marked);
  return mark_ + std::to_string(marked_.size() - 1) + kMarkEnd;
}

std::string ControlMarks::mark(size_t number) { return mark_for({.control = {}, .number = number}); }

std::string ControlMarks::protect(std::string_view text) {
  std::string out;
  size_t copied = 0;
  for (size_t at = 0; at < text.size();) {
    const std::string* const control = control_at(text, at);
    if (control == nullptr) {
      ++at;
      continue;
    }
    out += text.substr(copied, at - copied);
    out += mark_for({.control = *control, .number = 0});
    at += control->size();
    copied = at;
  }
  return out += text.substr(copied);
}

bool ControlMarks::holds_control(std::string_view text) const {
  for (size_t at = 0; at < text.size(); ++at) {
    if (control_at(text, at) != nullptr) return true;
  }
  return false;
}

Result<std::string> ControlMarks::protect_json(std::string_view json, std::string_view what) {
  using Json = nlohmann::ordered_json;
  // Recursion: the depth of JSON on our wires is bounded (kMaxJsonDepth).
  const auto walk = [this](const auto& self, const Json& value) -> Json {
    if (value.is_string()) return protect(value.get_ref<const std::string&>());
    if (value.is_array()) {
      Json array = Json::array();
      for (const Json& element : value) array.push_back(self(self, element));
      return array;
    }
    if (!value.is_object()) return value;
    Json::object_t object;
    for (const auto& [key, member] : value.items()) object.emplace_back(protect(key), self(self, member));
    return object;
  };
  if (count_members(json) > kMaxMembers) {
    return fail(Code::kInvalidRequest, std::string(what) + ": more than " + std::to_string(kMaxMembers) + " members of objects");
  }
  try {
    const Json value = Json::parse(json);
    return walk(walk, value).dump();
  } catch (const std::exception&) {
    return fail(Code::kInvalidRequest, std::string(what) + ": is no JSON");
  }
}

std::vector<ControlMarks::Part> ControlMarks::split(std::string_view rendered) const {
  std::vector<Part> parts;
  const auto add = [&](std::string_view text, bool from_template) {
    if (!text.empty()) parts.push_back({text, from_template, std::nullopt});
  };
  for (size_t at; (at = rendered.find(mark_)) != std::string_view::npos;) {
    add(rendered.substr(0, at), true);
    rendered.remove_prefix(at + mark_.size());
    size_t index = marked_.size();
    const auto read = std::from_chars(rendered.data(), rendered.data() + rendered.size(), index);
    rendered.remove_prefix(std::min(rendered.size(), static_cast<size_t>(read.ptr - rendered.data()) + 1));
    if (index >= marked_.size()) continue;  // a template took it apart: it stands for nothing
    const Marked& marked = marked_[index];
    if (marked.control.empty()) {
      parts.push_back({{}, false, marked.number});
    } else {
      add(marked.control, false);
    }
  }
  add(rendered, true);
  return parts;
}

}  // namespace inferd::engine
