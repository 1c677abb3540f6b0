#include "ctl/progress.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/utf8.h"
#include "os/terminal.h"

namespace inferd::ctl {
namespace {

constexpr size_t kBarWidth = 24;

// The share that is done, where the event knows it.
std::optional<double> share_of(const client::StatusEvent& event) {
  const auto of_total = [&](const char* done) -> std::optional<double> {
    const double total = event.number("total_bytes");
    if (total <= 0) return std::nullopt;
    return event.number(done) / total;
  };
  if (event.phase == "download") return of_total("downloaded_bytes");
  if (event.phase == "verify") return of_total("verified_bytes");
  if (event.phase == "mmap" && event.number("progress", -1) >= 0) return event.number("progress") / 100;
  return std::nullopt;
}

std::string phase_text(const client::StatusEvent& event) {
  if (event.phase == "checking_local") return "looking for the model";
  if (event.phase == "download") return "downloading";
  if (event.phase == "verify") return "checking the file";
  if (event.phase == "quarantine") return "the file is damaged: put aside";
  if (event.phase == "mmap") return "loading the model";
  if (event.phase == "kv_cache") return "preparing the KV cache";
  if (event.phase == "engine") return "starting a new engine (" + event.text("reason") + ")";
  return event.phase;
}

}  // namespace

std::string bar(double share) {
  const double shown = std::clamp(share, 0.0, 1.0);
  const auto full = static_cast<size_t>(shown * kBarWidth);
  return "[" + std::string(full, '#') + std::string(kBarWidth - full, '-') + "] " + std::to_string(static_cast<int>(shown * 100)) + " %";
}

std::string describe(const client::StatusEvent& event, size_t width) {
  std::string text = event.status;
  if (event.status == "loading_model") text = "loading";
  if (!event.phase.empty()) text += ": " + phase_text(event);
  if (event.status == "error" && !event.text("reason").empty()) text += ": " + event.text("reason");
  if (event.status == "capabilities") text = "backend " + event.text("name") + " (" + event.text("backend") + ", " + event.text("accelerator") + ")";
  if (const auto share = share_of(event)) text += " " + bar(*share);
  if (const auto warning = event.text("warning"); !warning.empty()) text += "; warning: " + warning;
  return std::string(cut_utf8(text, width));
}

ProgressLine::ProgressLine() : terminal_(os::is_terminal(os::StandardStream::kError)) {}

void ProgressLine::show(const std::string& text) {
  if (!terminal_) return;
  std::fprintf(stderr, "\r\033[K%s", text.c_str());
  std::fflush(stderr);
  shown_ = true;
}

void ProgressLine::clear() {
  if (!shown_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace inferd::ctl
