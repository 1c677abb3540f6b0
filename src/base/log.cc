#include "base/log.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cstdio>
#include <deque>
#include <mutex>
#include <optional>

namespace inferd::log {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"off", "error", "warn", "info", "debug", "trace"};

// A filter that was replaced may still be read by another thread, so it stays for the life of the process: there are as many as SIGHUPs.
std::atomic<const Filter*> g_filter{nullptr};  // null: a Filter as it is made
Sink* g_sink = nullptr;                        // written by install() only

const Filter& current_filter() {
  static const Filter standard;
  const Filter* const filter = g_filter.load(std::memory_order_acquire);
  return filter != nullptr ? *filter : standard;
}

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

struct Item {
  std::optional<std::string_view> component;  // none: the level is for all that are not named
  Level level;
};

std::optional<Item> parse_item(std::string_view text) {
  const size_t equals = text.find('=');
  std::optional<std::string_view> component;
  if (equals != std::string_view::npos) {
    component = trim(text.substr(0, equals));
    if (const size_t segment = component->rfind("::"); segment != std::string_view::npos) component->remove_prefix(segment + 2);
    if (component->empty()) return std::nullopt;
    text = trim(text.substr(equals + 1));
  }
  const auto level = parse_level(text);
  return level ? std::optional(Item{component, *level}) : std::nullopt;
}

std::vector<std::string_view> split_at_commas(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    parts.push_back(trim(text.substr(at, end - at)));
    at = end + 1;
  }
  return parts;
}

}  // namespace

std::string_view level_name(Level level) { return kNames[static_cast<size_t>(level)]; }

Filter Filter::parse(const char* text) {
  Filter filter;
  if (text == nullptr) return filter;
  filter.default_ = Level::kError;
  bool understood = trim(text).empty();
  for (const std::string_view part : split_at_commas(text)) {
    const auto item = parse_item(part);
    if (!item) continue;
    understood = true;
    if (item->component) {
      filter.directives_.push_back({std::string(*item->component), item->level});
    } else {
      filter.default_ = item->level;
    }
  }
  if (!understood) return Filter();
  filter.most_verbose_ = filter.default_;
  for (const auto& directive : filter.directives_) filter.most_verbose_ = std::max(filter.most_verbose_, directive.level);
  return filter;
}

bool Filter::is_valid(std::string_view text) {
  const auto is_understood = [](std::string_view part) { return parse_item(part).has_value(); };
  return trim(text).empty() || std::ranges::all_of(split_at_commas(text), is_understood);
}

bool Filter::enabled(Level level, std::string_view component) const {
  for (const auto& directive : directives_) {
    if (directive.component == component) return level <= directive.level;
  }
  return level <= default_;
}

void set_filter(Filter filter) {
  static std::deque<Filter> kept;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  g_filter.store(&kept.emplace_back(std::move(filter)), std::memory_order_release);
}

void install(Filter filter, Sink* sink) {
  set_filter(std::move(filter));
  g_sink = sink;
}

bool enabled(Level level, std::string_view component) {
  const Filter& filter = current_filter();
  return level <= filter.most_verbose() && filter.enabled(level, component);
}

void write(Level level, std::string_view component, std::string_view message) {
  if (g_sink != nullptr) {
    g_sink->record(level, component, message);
  } else {
    fmt::print(stderr, "{} {}: {}\n", level_name(level), component, message);
  }
}

}  // namespace inferd::log
