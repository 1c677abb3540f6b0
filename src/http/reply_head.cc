#include "http/reply_head.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace inferd::http {
namespace {

constexpr size_t kMaxFieldBytes = 64 * 1024;  // of one answer; what is beyond is left out

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::optional<uint64_t> read_number(std::string_view text) {
  uint64_t number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<ContentRange> read_content_range(std::string_view value) {
  value = trimmed(value);
  if (lower(value.substr(0, 6)) != "bytes ") return std::nullopt;
  value = trimmed(value.substr(6));
  const size_t dash = value.find('-'), slash = value.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return std::nullopt;
  const auto first = read_number(value.substr(0, dash)), last = read_number(value.substr(dash + 1, slash - dash - 1));
  if (!first || !last || *last < *first) return std::nullopt;
  ContentRange range{*first, *last, std::nullopt};
  if (value.substr(slash + 1) != "*") {
    range.total = read_number(value.substr(slash + 1));
    if (!range.total || *range.total <= *last) return std::nullopt;
  }
  return range;
}

void HeadReader::line(std::string_view text) {
  if (text.starts_with("HTTP/")) {
    fields_.clear();
    bytes_ = 0;
    return;
  }
  const size_t colon = text.find(':');
  bytes_ += text.size();
  if (colon == std::string_view::npos || bytes_ > kMaxFieldBytes) return;
  fields_.emplace(lower(text.substr(0, colon)), trimmed(text.substr(colon + 1)));
}

ReplyHead HeadReader::head(int status) const {
  const auto field = [this](const char* name) {
    const auto at = fields_.find(name);
    return at == fields_.end() ? std::string() : at->second;
  };
  ReplyHead head;
  head.status = status;
  head.content_length = read_number(field("content-length"));
  head.content_range = read_content_range(field("content-range"));
  const std::string etag = field("etag");
  head.validator = etag.starts_with('"') ? etag : field("last-modified");
  // It is sent back in a header, and stands on a line of the partial file's record.
  if (std::ranges::any_of(head.validator, [](unsigned char c) { return c < 0x20 || c == 0x7F; })) head.validator.clear();
  return head;
}

}  // namespace inferd::http
