// SHA-256: of bytes as they come, and of a file, read through the descriptor that is used afterwards, so that what was checked is what is
// loaded. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

struct evp_md_ctx_st;  // of OpenSSL

namespace inferd {

/// Hashes bytes in the order in which they are given. One thread at a time.
class Sha256 {
 public:
  static Result<Sha256> make();
  void update(std::string_view bytes);
  /// 64 lower-case hex digits. Nothing may follow.
  std::string finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  explicit Sha256(std::unique_ptr<evp_md_ctx_st, Free> context) : context_(std::move(context)) {}
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// 64 lower-case hex digits. A second thread reads ahead, so that neither the disk nor the copy out of the cache costs time.
/// `progress(bytes)` is called every 32 MiB or second, on this thread; kBackendUnavailable once `cancelled` is set.
Result<std::string> sha256_of(int fd, const std::atomic<bool>& cancelled, const std::function<void(uint64_t)>& progress);

/// The digest of a text.
Result<std::string> sha256_of_text(std::string_view text);

/// As many random bytes, in hex.
Result<std::string> random_text(size_t bytes);

/// Two lower-case digits a byte.
std::string hex_text(std::span<const unsigned char> bytes);

}  // namespace inferd
