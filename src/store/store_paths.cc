#include "store/store_paths.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "base/sha256_hex.h"
#include "base/utf8.h"
#include "os/paths.h"

namespace inferd::store {
namespace {

constexpr size_t kMaxFileName = 240;  // of 255, with ".json.tmp" behind it
constexpr std::string_view kHex = "0123456789ABCDEF";

std::optional<unsigned> hex_value(char digit) {
  if (digit >= '0' && digit <= '9') return static_cast<unsigned>(digit - '0');
  if (digit >= 'A' && digit <= 'F') return static_cast<unsigned>(digit - 'A' + 10);
  return std::nullopt;
}

// The byte that "%XX" at `at` stands for.
std::optional<char> escaped_byte(std::string_view text, size_t at) {
  if (text[at] != '%' || at + 2 >= text.size()) return std::nullopt;
  const auto high = hex_value(text[at + 1]), low = hex_value(text[at + 2]);
  if (!high || !low) return std::nullopt;
  return static_cast<char>(*high << 4 | *low);
}

// True for one of the two bytes of U+0080 to U+009F; `name` is UTF-8, so 0xC2 begins a character wherever it stands.
bool is_in_c1(std::string_view name, size_t at) {
  const auto is_last = [&](size_t i) {
    const auto byte = static_cast<unsigned char>(i < name.size() ? name[i] : 0);
    return byte >= 0x80 && byte < 0xA0;
  };
  return (name[at] == '\xC2' && is_last(at + 1)) || (at > 0 && name[at - 1] == '\xC2' && is_last(at));
}

std::string escaped(std::string_view name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    const auto byte = static_cast<unsigned char>(name[i]);
    const bool unsafe = byte < 0x20 || byte == 0x7F || byte == '/' || byte == '\\' || (byte == '.' && i == 0) || is_in_c1(name, i);
    // A '%' stays where it reads as itself, so that a name with one keeps the path that other tools give it.
    if (unsafe || escaped_byte(name, i)) {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += name[i];
    }
  }
  return out;
}

}  // namespace

Result<BlobId> BlobId::parse(std::string_view text) {
  auto hex = sha256_hex(text);
  if (!hex) return fail(Code::kUsage, "SHA-256 `" + std::string(cut_utf8(text, 80)) + "`: expected 64 hex digits");
  return BlobId(std::move(*hex));
}

Result<ModelName> ModelName::parse(std::string_view text) {
  if (text.empty()) return fail(Code::kUsage, "a model's name is empty");
  if (!is_valid_utf8(text)) return fail(Code::kUsage, "a model's name is not UTF-8");
  std::string file_name = escaped(text);
  if (file_name.size() > kMaxFileName) {
    return fail(Code::kUsage, "the model name `" + std::string(cut_utf8(text, 40)) + "...` is too long: its file name would have " +
                                  std::to_string(file_name.size()) + " bytes, at most " + std::to_string(kMaxFileName) + " are allowed");
  }
  return ModelName(std::string(text), std::move(file_name));
}

Result<ModelName> ModelName::from_file_name(std::string_view file_name) {
  std::string text;
  for (size_t i = 0; i < file_name.size(); ++i) {
    const auto byte = escaped_byte(file_name, i);
    text += byte.value_or(file_name[i]);
    if (byte) i += 2;
  }
  auto name = parse(text);
  if (name && name->file_name() != file_name) return fail(Code::kUsage, "`" + std::string(file_name) + "` is not the file name of a model");
  return name;
}

std::filesystem::path store_root(std::string_view configured) {
  const std::filesystem::path home = os::env("HOME").value_or(".");
  if (configured.starts_with("~/") || configured.starts_with("~\\")) return home / configured.substr(2);
  if (!configured.empty()) return configured;
  if (const auto models = os::env("MODELS_HOME")) return *models;
  if (const auto data = os::env("XDG_DATA_HOME")) return std::filesystem::path(*data) / "models";
  return home / ".local" / "share" / "models";
}

}  // namespace inferd::store
