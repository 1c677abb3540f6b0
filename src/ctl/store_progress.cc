#include "ctl/store_progress.h"

#include <cmath>
#include <cstdio>
#include <utility>

#include "base/size_text.h"
#include "base/utf8.h"
#include "ctl/commands.h"
#include "ctl/json_line.h"
#include "os/terminal.h"

namespace inferd::ctl {
namespace {

constexpr auto kRateWindow = std::chrono::seconds(5);
constexpr auto kLeastRateTime = std::chrono::milliseconds(500);
constexpr auto kLinePace = std::chrono::milliseconds(100);
constexpr auto kJsonPace = std::chrono::milliseconds(1'000);
constexpr double kMostSecondsLeft = 100 * 3600;  // beyond that the rate says nothing

std::string_view verb_of(std::string_view phase) {
  if (phase == "download") return "downloading";
  return phase == "copy" ? "copying" : "checking";
}

}  // namespace

void TransferRate::add(Clock::time_point now, uint64_t bytes_so_far) {
  if (!samples_.empty() && bytes_so_far < samples_.back().bytes) samples_.clear();  // it began again
  samples_.push_back({now, bytes_so_far});
  while (samples_.size() > 2 && now - samples_[1].when >= kRateWindow) samples_.pop_front();
}

std::optional<double> TransferRate::bytes_per_second() const {
  if (samples_.empty() || samples_.back().when - samples_.front().when < kLeastRateTime) return std::nullopt;
  const std::chrono::duration<double> seconds = samples_.back().when - samples_.front().when;
  return static_cast<double>(samples_.back().bytes - samples_.front().bytes) / seconds.count();
}

std::string duration_text(uint64_t seconds) {
  const uint64_t minutes = seconds / 60, hours = minutes / 60;
  if (hours > 0) return std::to_string(hours) + " h " + std::to_string(minutes % 60) + " min";
  if (minutes > 0) return std::to_string(minutes) + " min " + std::to_string(seconds % 60) + " s";
  return std::to_string(seconds) + " s";
}

std::string step_text(const StoreStep& step, size_t width) {
  std::string text;
  if (step.total && *step.total > 0) text = " " + bar(static_cast<double>(step.bytes) / static_cast<double>(*step.total)) + " ";
  text += " " + size_text(step.bytes);
  if (step.total) text += " of " + size_text(*step.total);
  if (const double rate = step.bytes_per_second.value_or(0); rate >= 1) {
    text += ", " + size_text(static_cast<uint64_t>(rate)) + "/s";
    const double left = step.total && *step.total > step.bytes ? static_cast<double>(*step.total - step.bytes) / rate : 0;
    if (left > 0 && left < kMostSecondsLeft) text += ", " + duration_text(static_cast<uint64_t>(std::ceil(left))) + " left";
  }
  const std::string verb(verb_of(step.phase));
  const std::string name = " " + printable(step.name);
  // On a narrow terminal the numbers say more than the name.
  return std::string(cut_utf8(verb + (verb.size() + name.size() + text.size() > width ? "" : name) + text, width));
}

StoreProgress::StoreProgress(bool json, std::string name) : json_(json), name_(std::move(name)) { log::install(log_filter(), this); }

StoreProgress::~StoreProgress() { log::install(log_filter(), &terminal_log()); }

void StoreProgress::show(std::string_view phase, uint64_t bytes, std::optional<uint64_t> total) {
  const auto now = TransferRate::Clock::now();
  const bool begins = phase != phase_ || bytes < bytes_;
  const bool ends = bytes == total && bytes != bytes_;
  if (!begins && !ends && now - shown_ < (json_ ? kJsonPace : kLinePace)) return;
  if (begins) rate_ = TransferRate();
  phase_ = phase;
  bytes_ = bytes;
  shown_ = now;
  rate_.add(now, bytes);
  if (json_) {
    JsonLine().text("event", "progress").text("phase", phase).text("name", name_).number("bytes", bytes).number("total", total).print();
  } else {
    line_.show(step_text({phase, name_, bytes, total, rate_.bytes_per_second()}, os::terminal_width() - 1));
  }
}

void StoreProgress::record(log::Level level, std::string_view component, std::string_view message) {
  line_.clear();
  terminal_log().record(level, component, message);
}

}  // namespace inferd::ctl
