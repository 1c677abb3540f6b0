#include "observe/redact.h"

#include <re2/re2.h>

namespace inferd {
namespace {

constexpr size_t kShortestSecret = 8;  // "pwd=" and four characters

struct RuleText {
  const char* pattern;
  const char* marker;
};

// Between keyword, separator and value there may be the quotes of a JSON text, escaped as often as it was put into another one: the gap
// that spec 06 §10 item 8 lists, and so are keys with further hyphens after "sk-". A value ends before such a quote.
constexpr RuleText kRules[] = {
    {R"re((?i)\bauthorization\\*["']?\s*[:=]\s*\\*["']?\s*(?:bearer|basic|token)\s+[A-Za-z0-9._\-+/=]{8,})re", "[REDACTED:auth-header]"},
    {R"re((?i)\b(?:password|passwd|pwd|api[_-]?key|secret|token)\\*["']?\s*[:=]\s*\\*["']?(?:[^\s",&}\\]|\\[^\s",&}]){4,})re",
     "[REDACTED:secret-kv]"},
    {R"re(\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\b)re", "[REDACTED:jwt]"},
    {R"re(\bsk-[A-Za-z0-9_-]{16,})re", "[REDACTED:api-key]"},
    {R"re(xox[baps]-[A-Za-z0-9-]{10,})re", "[REDACTED:api-key]"},
    {R"re(gh[posu]_[A-Za-z0-9]{20,})re", "[REDACTED:api-key]"},
    {R"re(pat-[A-Za-z0-9]{16,})re", "[REDACTED:api-key]"},
    {R"re(thingspat_[A-Za-z0-9]{16,})re", "[REDACTED:api-key]"},
    {R"re(AKIA[0-9A-Z]{16})re", "[REDACTED:aws-access]"},
    {R"re(ASIA[0-9A-Z]{16})re", "[REDACTED:aws-session]"},
};

}  // namespace

Redactor::Redactor() {
  RE2::Options options;
  options.set_max_mem(1 << 20);
  std::string all;
  for (const RuleText& rule : kRules) {
    rules_.push_back({std::make_unique<RE2>(rule.pattern, options), rule.marker});
    all += (all.empty() ? "(?:" : "|(?:") + std::string(rule.pattern) + ")";
  }
  any_ = std::make_unique<RE2>(all, options);
}

Redactor::~Redactor() = default;

bool Redactor::matches(std::string_view text) const {
  return text.size() >= kShortestSecret && RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *any_);
}

bool Redactor::redact(std::string& text) const {
  if (!matches(text)) return false;
  for (const Rule& rule : rules_) RE2::GlobalReplace(&text, *rule.pattern, rule.marker);
  return true;
}

}  // namespace inferd
