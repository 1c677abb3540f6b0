// What a server says before the body of its answer (RFC 9110), as far as a download needs it. Pure; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace inferd::http {

/// "Content-Range: bytes FIRST-LAST/TOTAL" (RFC 9110 §14.4). Both ends are within.
struct ContentRange {
  uint64_t first = 0, last = 0;
  std::optional<uint64_t> total;
};
/// Nothing if it is of another form, "bytes */TOTAL" included.
std::optional<ContentRange> read_content_range(std::string_view value);

struct ReplyHead {
  int status = 0;
  std::optional<uint64_t> content_length;
  std::optional<ContentRange> content_range;
  /// What If-Range may name: a strong ETag, else Last-Modified, else empty.
  std::string validator;
  std::optional<std::chrono::seconds> retry_after;  // filled in by who knows the time
};

/// Gets the header lines of one transfer in order, also those of redirects and of "100 Continue": the last answer counts.
class HeadReader {
 public:
  void line(std::string_view text);
  ReplyHead head(int status) const;

 private:
  std::map<std::string, std::string> fields_;  // lower-case names
  size_t bytes_ = 0;
};

}  // namespace inferd::http
