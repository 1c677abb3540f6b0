#include "store/digest.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "os/os_error.h"

namespace inferd {
namespace {
constexpr size_t kReadBytes = 256 * 1024;  // stays in the second-level cache between read() and the hash
constexpr uint64_t kProgressBytes = 32u << 20;
}  // namespace

Result<std::string> sha256_of(int fd, const std::atomic<bool>& cancelled, const std::function<void(uint64_t)>& progress) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) return fail(Code::kInternal, "SHA-256 is not available");
  std::vector<char> buffer(kReadBytes);
  uint64_t at = 0, reported = 0;
  for (;;) {
    if (cancelled.load(std::memory_order_relaxed)) return fail(Code::kBackendUnavailable, "hashing was stopped");
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os::os_fail(errno, "read");
    if (n == 0) break;
    EVP_DigestUpdate(context.get(), buffer.data(), static_cast<size_t>(n));
    at += static_cast<uint64_t>(n);
    if (at - reported >= kProgressBytes) progress(reported = at);
  }
  std::array<unsigned char, 32> digest{};
  EVP_DigestFinal_ex(context.get(), digest.data(), nullptr);
  std::string text;
  for (const unsigned char byte : digest) {
    constexpr char kHex[] = "0123456789abcdef";
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && std::ranges::all_of(text, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

}  // namespace inferd
