#include "base/log.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <optional>

namespace inferd::log {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"off", "error", "warn", "info", "debug", "trace"};

Filter g_filter;         // written by install() only
Sink* g_sink = nullptr;  // likewise

std::optional<Level> parse_level(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (lower == kNames[i] || (lower.size() == 1 && lower[0] == static_cast<char>('0' + i))) return static_cast<Level>(i);
  }
  return std::nullopt;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

std::string_view level_name(Level level) { return kNames[static_cast<size_t>(level)]; }

Filter Filter::parse(const char* text) {
  Filter filter;
  if (text == nullptr) return filter;
  std::string_view rest(text);
  filter.default_ = Level::kError;
  bool understood = trim(rest).empty();
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view item = trim(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos) {
      if (const auto level = parse_level(item)) {
        filter.default_ = *level;
        understood = true;
      }
      continue;
    }
    std::string_view component = trim(item.substr(0, equals));
    if (const size_t segment = component.rfind("::"); segment != std::string_view::npos) component = component.substr(segment + 2);
    if (const auto level = parse_level(trim(item.substr(equals + 1)))) {
      filter.directives_.push_back({std::string(component), *level});
      understood = true;
    }
  }
  if (!understood) return Filter();
  filter.most_verbose_ = filter.default_;
  for (const auto& directive : filter.directives_) filter.most_verbose_ = std::max(filter.most_verbose_, directive.level);
  return filter;
}

bool Filter::enabled(Level level, std::string_view component) const {
  for (const auto& directive : directives_) {
    if (directive.component == component) return level <= directive.level;
  }
  return level <= default_;
}

void install(Filter filter, Sink* sink) {
  g_filter = std::move(filter);
  g_sink = sink;
}

bool enabled(Level level, std::string_view component) {
  return level <= g_filter.most_verbose() && g_filter.enabled(level, component);
}

void write(Level level, std::string_view component, std::string_view message) {
  if (g_sink != nullptr) {
    g_sink->record(level, component, message);
  } else {
    fmt::print(stderr, "{} {}: {}\n", level_name(level), component, message);
  }
}

}  // namespace inferd::log
