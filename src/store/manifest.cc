#include "store/manifest.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <ctime>

#include "base/json_text.h"
#include "base/utf8.h"

namespace inferd::store {
namespace {

namespace json = boost::json;
constexpr std::string_view kBlobPrefix = "sha256:";

// `text` is valid JSON in all that follows: Boost.JSON has parsed it. Its DOM would hide doubled fields and rewrite numbers of other tools'
// fields, so the members of an object are cut out of the text itself.

size_t end_of_string(std::string_view text, size_t at) {
  for (++at; text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

size_t end_of_value(std::string_view text, size_t at) {
  if (text[at] == '"') return end_of_string(text, at);
  if (text[at] != '{' && text[at] != '[') return text.find_first_of(",}] \t\r\n", at);
  size_t depth = 0;
  do {
    if (text[at] == '"') {
      at = end_of_string(text, at);
      continue;
    }
    if (text[at] == '{' || text[at] == '[') ++depth;
    if (text[at] == '}' || text[at] == ']') --depth;
    ++at;
  } while (depth > 0);
  return at;
}

using Members = std::vector<Manifest::ExtraField>;

Members members_of(std::string_view object) {
  Members members;
  size_t at = object.find('{') + 1;
  for (;;) {
    at = object.find_first_not_of(" \t\r\n,", at);
    if (object[at] == '}') return members;
    const size_t key_end = end_of_value(object, at);
    const size_t value = object.find_first_not_of(" \t\r\n:", key_end);
    const size_t value_end = end_of_value(object, value);
    members.push_back({std::string(object.substr(at, key_end - at)), std::string(object.substr(value, value_end - value))});
    at = value_end;
  }
}

json::value value_of(const std::string& text) { return json::parse(json::string_view(text.data(), text.size())); }
std::string text_of(const json::value& value) { return {value.get_string().data(), value.get_string().size()}; }

// Takes the fields of one object by name; what is left at the end is other tools'. The first error is kept.
class Fields {
 public:
  Fields(std::string_view object, std::string path) : members_(members_of(object)), path_(std::move(path)) {}

  std::optional<json::value> take(std::string_view name) {
    std::optional<json::value> found;
    for (auto at = members_.begin(); at != members_.end();) {
      if (text_of(value_of(at->key)) != name) {
        ++at;
        continue;
      }
      if (found) wrong(name, "is there twice");
      raw_ = at->value;
      found = value_of(raw_);
      at = members_.erase(at);
    }
    return found;
  }

  void text(std::string_view name, std::string& out) {
    const auto value = take(name);
    if (!value) return wrong(name, "is missing");
    if (!value->is_string()) return wrong(name, "expected a string");
    out = text_of(*value);
  }

  void number(std::string_view name, uint64_t& out) {
    const auto value = take(name);
    if (!value) return wrong(name, "is missing");
    if (value->is_uint64()) {
      out = value->get_uint64();
    } else if (value->is_int64() && value->get_int64() >= 0) {
      out = static_cast<uint64_t>(value->get_int64());
    } else {
      wrong(name, "expected an integer from 0 on");
    }
  }

  void optional_text(std::string_view name, std::optional<std::string>& out) {
    const auto value = take(name);
    if (!value || value->is_null()) return;
    if (!value->is_string()) return wrong(name, "expected a string or null");
    out = text_of(*value);
  }

  /// The text of an object, for Fields of its own.
  std::string object(std::string_view name) {
    const auto value = take(name);
    if (!value) {
      wrong(name, "is missing");
    } else if (!value->is_object()) {
      wrong(name, "expected an object");
    } else {
      return raw_;
    }
    return "{}";
  }

  Members rest() && { return std::move(members_); }
  const std::string& error() const { return error_; }

 private:
  void wrong(std::string_view name, std::string_view why) {
    if (error_.empty()) error_ = "field `" + path_ + std::string(name) + "`: " + std::string(why);
  }

  Members members_;
  std::string path_;
  std::string raw_;  // of the field that was taken last
  std::string error_;
};

// One object, its fields in the order in which they are added.
class Writer {
 public:
  explicit Writer(size_t depth) : indent_(2 * depth, ' ') {}

  void raw(std::string_view key_in_quotes, std::string_view value) {
    out_ += out_.empty() ? "{\n" : ",\n";
    out_ += indent_ + "  ";
    out_ += key_in_quotes;
    out_ += ": ";
    out_ += value;
  }
  void text(const std::string& name, std::string_view value) { raw('"' + name + '"', json_text(to_valid_utf8(value))); }
  void extra(const Members& fields) {
    for (const auto& field : fields) raw(field.key, field.value);
  }
  std::string finish() && { return out_ + "\n" + indent_ + "}"; }

 private:
  std::string indent_, out_;
};

std::string source_text(const Manifest::Source& source) {
  Writer writer(1);
  writer.text("registry", source.registry);
  writer.text("repo", source.repo);
  writer.text("revision", source.revision);
  writer.text("filename", source.filename);
  writer.extra(source.extra);
  return std::move(writer).finish();
}

}  // namespace

std::optional<BlobId> Manifest::blob_id() const {
  if (!blob.starts_with(kBlobPrefix)) return std::nullopt;
  auto id = BlobId::parse(std::string_view(blob).substr(kBlobPrefix.size()));
  if (!id) return std::nullopt;
  return *id;
}

Result<Manifest> parse_manifest(std::string_view text, const std::string& where) {
  boost::system::error_code error;
  const json::value root = json::parse(json::string_view(text.data(), text.size()), error);
  if (error) return fail(Code::kIntegrity, where + " is not JSON: " + error.message());
  if (!root.is_object()) return fail(Code::kIntegrity, where + ": expected a JSON object");

  Manifest manifest;
  Fields fields(text, "");
  fields.number("schema_version", manifest.schema_version);
  fields.text("name", manifest.name);
  fields.text("format", manifest.format);
  fields.text("blob", manifest.blob);
  fields.number("size_bytes", manifest.size_bytes);
  fields.optional_text("license", manifest.license);
  fields.text("produced_by", manifest.produced_by);
  fields.text("produced_at", manifest.produced_at);
  Fields source(fields.object("source"), "source.");
  source.text("registry", manifest.source.registry);
  source.text("repo", manifest.source.repo);
  source.text("revision", manifest.source.revision);
  source.text("filename", manifest.source.filename);
  for (const Fields* read : {&fields, &source}) {
    if (!read->error().empty()) return fail(Code::kIntegrity, where + ": " + read->error());
  }
  manifest.source.extra = std::move(source).rest();
  manifest.extra = std::move(fields).rest();
  return manifest;
}

std::string manifest_text(const Manifest& manifest) {
  Writer writer(0);
  writer.raw("\"schema_version\"", std::to_string(manifest.schema_version));
  writer.text("name", manifest.name);
  writer.text("format", manifest.format);
  writer.text("blob", manifest.blob);
  writer.raw("\"size_bytes\"", std::to_string(manifest.size_bytes));
  writer.raw("\"license\"", manifest.license ? json_text(to_valid_utf8(*manifest.license)) : "null");
  writer.raw("\"source\"", source_text(manifest.source));
  writer.text("produced_by", manifest.produced_by);
  writer.text("produced_at", manifest.produced_at);
  writer.extra(manifest.extra);
  return std::move(writer).finish() + "\n";
}

Manifest::Source source_of_url(std::string_view url) {
  Manifest::Source source;
  const size_t scheme = url.find("://");
  const bool has_host = scheme != std::string_view::npos;
  std::string_view host = has_host ? url.substr(scheme + 3) : std::string_view();
  host = host.substr(0, host.find_first_of("/?#"));
  const std::string_view path = has_host ? url.substr(scheme + 3 + host.size()) : url;
  const size_t slash = path.rfind('/');
  if (slash != std::string_view::npos || !has_host) source.filename = path.substr(slash == std::string_view::npos ? 0 : slash + 1);
  if (const size_t user = host.rfind('@'); user != std::string_view::npos) host.remove_prefix(user + 1);
  if (url.starts_with("https://")) source.registry = host;
  return source;
}

std::string utc_text(std::chrono::system_clock::time_point time, const char* format) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[64];
  return {text, std::strftime(text, sizeof text, format, &utc)};
}

}  // namespace inferd::store
