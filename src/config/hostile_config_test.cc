// Config files that nobody would write (issue 5): drawn by lot from the table of fields, right and wrong, some of them damaged as text; and
// right ones cut and flipped at every place. Each ends in an error of one line that names the file, or in a configuration that keeps every
// bound and can be printed. The sanitizers' builds say whether anything else went wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_text.h"
#include "base/utf8.h"
#include "config/config_table.h"
#include "config/effective.h"
#include "config/effective_text.h"
#include "config/json_tree.h"
#include "config/options.h"

namespace inferd {
namespace {

constexpr size_t kFiles = 5'000;
constexpr size_t kMostShown = 80;       // bytes of a text in a message
constexpr size_t kMostMessage = 1'500;  // bytes
const std::string kFile = "/etc/hostile.json";

// Draws config files. The same seed draws the same ones.
class Author {
 public:
  explicit Author(uint64_t seed) : random_(seed) {}

  struct File {
    std::string text;
    bool damaged = false;
  };
  File file() {
    wrongness_ = one_in(3) ? 0 : one_in(2) ? 1 : 8;  // of a hundred
    std::string text = root();
    const bool damages = wrongness_ > 0 && one_in(3);
    return {damages ? damaged(std::move(text)) : std::move(text), damages};
  }
  /// Every field is there, and everything is right.
  std::string right_file() {
    wrongness_ = 0;
    everything_ = true;
    std::string text = root();
    everything_ = false;
    return text;
  }

 private:
  size_t below(size_t end) { return std::uniform_int_distribution<size_t>(0, end - 1)(random_); }
  bool one_in(size_t n) { return below(n) == 0; }
  bool goes_wrong() { return below(100) < wrongness_; }
  template <class T>
  T any_of(const std::vector<T>& list) {
    return list[below(list.size())];
  }

  std::string text(size_t most) {
    static const std::vector<std::string> kPieces = {
        "a", "7", "-", "_", "/", "\\", "..", " ", "\t", "\"", "\n", "~/", "%2F", "ä", "€", "\U0001F600", "\x7f", "\u2028",
        std::string(1, '\x1b') + "[2J", "https://", "{}", "null", "$"};
    std::string out;
    for (size_t n = below(most + 1); n > 0; --n) out += any_of(kPieces);
    return out;
  }

  // Long ones consist of 'Q', so that a message that shows too much of one is seen.
  std::string any_string() {
    if (one_in(4)) return json_text(std::string(any_of<size_t>({81, 300, 5'000, 70'000}), 'Q'));
    if (one_in(8)) return json_text(std::string("a\0b", 3));
    if (one_in(8)) return "\"\\ud800\"";  // half of a character
    return json_text(text(6));
  }

  std::string any_number() {
    return any_of<std::string>({"0", "-0", "1", "-1", "1.0", "1.5", "1e3", "1E400", "-1e400", "1e-400", "127", "128", "2147483648",
                                "-2147483648", "-2147483649", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808",
                                "18446744073709551616", std::string(400, '9'), "0." + std::string(400, '0') + "1"});
  }

  std::string any_value(size_t depth = 0) {
    switch (below(depth > 3 ? 4 : 6)) {
      case 0: return any_of<std::string>({"null", "true", "false"});
      case 1: return any_number();
      case 2:
      case 3: return any_string();
      case 4: {
        std::string out = "[";
        for (size_t n = below(20); n > 0; --n) out += any_value(depth + 1) + (n > 1 ? "," : "");
        return out + "]";
      }
      default: {
        std::string out = "{";
        for (size_t n = below(6); n > 0; --n) out += any_string() + ":" + any_value(depth + 1) + (n > 1 ? "," : "");
        return out + "}";
      }
    }
  }

  std::string right_text(const ConfigField& field) {
    switch (field.rule) {
      case TextRule::kAny: return json_text(text(5));
      case TextRule::kNotEmpty:
      case TextRule::kNotBlank: return json_text("n" + text(5) + std::to_string(below(1'000)));
      case TextRule::kHttpsUrl: return json_text("https://" + std::string(one_in(2) ? "u:SECRET@" : "") + "h/" + text(4) + "?sig=SECRET");
      case TextRule::kHttpUrl: return json_text(any_of<std::string>({"http://", "https://"}) + "u:SECRET@h:1/v1?key=SECRET");
      case TextRule::kSha256: return json_text(std::string(64, "0123456789abcdef"[below(16)]));
      case TextRule::kVariable: return json_text(any_of<std::string>({"A", "_x9", "HOSTILE_TEST_KEY"}));
      case TextRule::kPath: return json_text(any_of<std::string>({"/", "~/"}) + text(4));
      case TextRule::kChoice: return json_text(field.choices[below(field.choices.size())]);
      case TextRule::kLogFilter: return json_text(any_of<std::string>({"info", "warn,store=debug", "0"}));
    }
    return "\"\"";
  }

  std::string right_integer(const ConfigField& field) {
    if (everything_) return std::to_string(std::clamp<int64_t>(8, field.min, field.max));
    const int64_t small = std::clamp<int64_t>(static_cast<int64_t>(below(100)), field.min, field.max);
    return std::to_string(any_of<int64_t>({small, small, field.min, field.max}));
  }

  std::string right_value(const ConfigField& field) {
    switch (field.binding.type) {
      case FieldType::kBool: return one_in(2) ? "true" : "false";
      case FieldType::kInteger: return right_integer(field);
      case FieldType::kText: return right_text(field);
      case FieldType::kTextList: {
        std::string out = "[";
        for (size_t n = goes_wrong() ? below(40) : below(4); n > 0; --n) out += value(right_text(field)) + (n > 1 ? "," : "");
        return out + "]";
      }
      case FieldType::kObject: return object(*field.object);
      case FieldType::kEntries: return entries();
    }
    return "null";
  }

  std::string value(std::string right) { return goes_wrong() ? any_value() : right; }

  std::string entries() {
    std::string out = "[";
    for (size_t n = goes_wrong() ? any_of<size_t>({0, 64, 65}) : 1 + below(4); n > 0; --n) {
      const auto kinds = backend_kinds();
      out += value(object(*kinds[below(kinds.size())].object)) + (n > 1 ? "," : "");
    }
    return out + "]";
  }

  std::string root() { return object(config_root()); }

  bool is_wanted(const ConfigField& field, const std::set<std::string_view>& given) {
    if (given.contains(field.excludes) && !goes_wrong()) return false;
    if (field.legacy) return goes_wrong();
    if (field.required || field.binding.type == FieldType::kEntries) return !goes_wrong();
    // A number of GPU layers that is right for the table is an error of this build.
    if (field.name == "n_gpu_layers") return goes_wrong();
    return everything_ || one_in(3);
  }

  std::string object(const ConfigObject& object) {
    std::vector<std::string> members;
    std::set<std::string_view> given;
    if (!object.kind.empty() && !goes_wrong()) members.push_back("\"kind\":" + value(json_text(object.kind)));
    for (const ConfigField& field : object.fields) {
      if (!is_wanted(field, given)) continue;
      given.insert(field.name);
      const std::string key = json_text(field.name);
      members.push_back(key + ":" + value(right_value(field)));
      if (goes_wrong()) members.push_back(key + ":" + any_value());  // twice
      if (goes_wrong()) members.push_back(json_text(std::string(field.name) + any_of<std::string>({"s", "_", " ", "\n"})) + ":" + any_value());
    }
    if (!everything_ && one_in(8)) members.push_back(any_of<std::string>({"\"$schema\"", "\"_\"", "\"//\"", "\"#\""}) + ":" + any_value());
    if (goes_wrong()) members.push_back(any_string() + ":" + any_value());
    if (!everything_) std::ranges::shuffle(members, random_);
    std::string out = "{";
    for (const std::string& member : members) out += (out.size() > 1 ? "," : "") + member;
    return out + "}";
  }

  // As text: cut, flipped, with what does not belong there.
  std::string damaged(std::string text) {
    const size_t at = below(text.size() + 1);
    switch (below(9)) {
      case 0: return text.substr(0, at);
      case 1: return "\xEF\xBB\xBF" + text;
      case 2: return text.insert(at, std::string(1, '\0'));
      case 3: return text.insert(at, any_of<std::string>({"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe2\x82"}));
      case 4: return text.insert(at, any_of<std::string>({",", ",,", "}", "]", "\"", ":", "//c\n", "/*c*/", "\\", "\n", "+1", "NaN"}));
      case 5: return text + any_of<std::string>({"{}", "x", std::string(1, '\0'), "\n\n\n", text});
      case 6: return std::string(any_of<size_t>({126, 127, 128, 50'000}), one_in(2) ? '[' : '{') + text;
      case 7: return "{\"x\":" + std::string(130'000, '1') + "," + text.substr(1);
      default:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        return text;
    }
  }

  std::mt19937_64 random_;
  size_t wrongness_ = 0;
  bool everything_ = false;
};

// What is wrong with a message; empty if nothing is.
std::string fault_of_message(const std::string& message) {
  if (!is_valid_utf8(message)) return "no UTF-8";
  if (std::ranges::any_of(message, [](unsigned char c) { return c < 0x20; })) return "a control character";
  if (message.size() > kMostMessage) return "too long";
  if (message.find("SECRET") != std::string::npos) return "a secret";
  if (message.find(std::string(kMostShown + 1, 'Q')) != std::string::npos) return "more of a text than anybody reads";
  return {};
}

std::string fault_of_values(const ConfigObject& object, const void* owner, const std::string& path) {
  for (const ConfigField& field : object.fields) {
    const std::string at = path + "/" + std::string(field.name);
    if (field.binding.type == FieldType::kObject) {
      const void* inner = field.binding.find(owner);
      if (inner == nullptr) continue;
      if (auto fault = fault_of_values(*field.object, inner, at); !fault.empty()) return fault;
    } else if (field.binding.get != nullptr && !fits(field, field.binding.get(owner))) {
      return at + " is out of its bounds";
    }
  }
  return {};
}

std::string fault_of(const ConfigFile& config) {
  if (config.backends.empty() || config.backends.size() > kMaxBackends) return "the number of backends";
  if (auto fault = fault_of_values(config_root(), &config, ""); !fault.empty()) return fault;
  std::set<std::string> names;
  for (const BackendEntry& entry : config.backends) {
    if (!names.insert(name_of(entry)).second) return "a name twice";
    if (auto fault = fault_of_values(*object_of(entry), address_of(entry), "backend"); !fault.empty()) return fault;
  }
  for (const std::string& warning : config.warnings) {
    if (auto fault = fault_of_message(warning); !fault.empty()) return "a warning: " + fault;
  }
  return {};
}

std::string fault_of(const Effective& effective) {
  const std::string lines = to_lines(effective), json = to_json(effective);
  if ((lines + json).find("SECRET") != std::string::npos) return "what is printed shows a secret";
  const auto printed = static_cast<size_t>(std::ranges::count(lines, '\n'));
  if (printed != settings_of(effective).size() + effective.config.warnings.size()) return "a setting is not one line";
  if (!parse_json_tree(json)) return "what is printed as JSON is none";
  return {};
}

enum class End { kNoJson, kRefused, kNotMerged, kRight };

// Reads and merges; what is wrong about it comes in `fault`.
End examine(const std::string& text, const DaemonOptions& options, std::string& fault) {
  auto config = read_config(text, kFile);
  if (!config) {
    fault = fault_of_message(config.error().message);
    if (!config.error().message.starts_with(kFile + ": ")) fault = "the error does not name the file";
    return config.error().code == Code::kIntegrity ? End::kNoJson : End::kRefused;
  }
  fault = fault_of(*config);
  if (!fault.empty()) return End::kRefused;
  const auto effective = merge(options, std::move(*config));
  fault = effective ? fault_of(*effective) : fault_of_message(effective.error().message);
  return effective ? End::kRight : End::kNotMerged;
}

// Where a character of "://user@" itself is damaged, nobody can know what is to be hidden.
bool is_about_secrets(const std::string& fault) { return fault.find("a secret") != std::string::npos; }

DaemonOptions options_of(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "inferd-daemon");
  auto parsed = parse_command_line(static_cast<int>(arguments.size()), arguments.data());
  EXPECT_TRUE(parsed) << parsed.error().message;
  return *parsed->options;
}

TEST(HostileConfig, EachEndsInAnErrorOrInAConfigurationThatKeepsItsBounds) {
  const std::vector<DaemonOptions> options = {options_of({}), options_of({"--queue-depth", "3", "--n-ctx", "4096"}),
                                              options_of({"--active-permits", "200", "--uds", "/s"}), options_of({"--backend", "mock"})};
  Author author(20'250'131);
  std::vector<size_t> ends(4);
  for (size_t n = 0; n < kFiles; ++n) {
    const auto file = author.file();
    std::string fault;
    ++ends[static_cast<size_t>(examine(file.text, options[n % options.size()], fault))];
    if (file.damaged && is_about_secrets(fault)) continue;
    ASSERT_EQ(fault, "") << "file " << n << ":\n" << file.text.substr(0, 4'000);
  }
  // Else the grammar has lost its bite, or finds nothing right any more.
  for (const size_t count : ends) EXPECT_GT(count, kFiles / 100) << ::testing::PrintToString(ends);
}

TEST(HostileConfig, ARightFileCutAnywhereIsNoConfiguration) {
  Author author(1);
  const DaemonOptions options = options_of({});
  for (int n = 0; n < 10; ++n) {
    const std::string text = author.right_file();
    std::string fault;
    ASSERT_EQ(examine(text, options, fault), End::kRight) << text;
    ASSERT_EQ(fault, "") << text;
    for (size_t length = 0; length < text.size(); ++length) {
      ASSERT_EQ(examine(text.substr(0, length), options, fault), End::kNoJson) << text.substr(0, length);
      ASSERT_EQ(fault, "") << text.substr(0, length);
    }
  }
}

TEST(HostileConfig, ARightFileWithABitFlippedAnywhereIsNoSurprise) {
  Author author(2);
  const DaemonOptions options = options_of({});
  std::string text = author.right_file();
  for (size_t at = 0; at < text.size(); ++at) {
    const char before = text[at];
    text[at] = static_cast<char>(before ^ (1 << at % 8));
    std::string fault;
    (void)examine(text, options, fault);
    if (!is_about_secrets(fault)) {
      ASSERT_EQ(fault, "") << text;
    }
    text[at] = before;
  }
}

}  // namespace
}  // namespace inferd
