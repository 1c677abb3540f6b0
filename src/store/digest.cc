#include "store/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <semaphore>
#include <system_error>
#include <thread>
#include <vector>

#include "os/file_reader.h"
#include "os/system.h"

namespace inferd {
namespace {

constexpr size_t kPieceBytes = 256 * 1024;  // all pieces together stay in the processor's caches
constexpr size_t kPieces = 4;
constexpr uint64_t kProgressBytes = 32u << 20;
constexpr auto kProgressTime = std::chrono::seconds(1);  // a slow disk is no stopped one

// Counts pieces from one thread to the other. Who has to wait looks again and again for some microseconds before it sleeps: to be woken
// costs as much as a piece takes, most of all on a virtual machine.
class Pieces {
 public:
  Pieces(ptrdiff_t count, int tries) : count_(count), tries_(tries) {}
  void take() {
    for (int i = 0; i < tries_; ++i) {
      if (count_.try_acquire()) return;
    }
    count_.acquire();
  }
  void add() { count_.release(); }

 private:
  std::counting_semaphore<> count_;
  const int tries_;
};

// Reads a file from front to back on a thread of its own, at most kPieces ahead.
class ReadAhead {
 public:
  struct Piece {
    std::vector<char> buffer = std::vector<char>(kPieceBytes);
    size_t length = 0;  // 0: the end
    std::optional<Error> error = {};
  };

  explicit ReadAhead(int fd) : fd_(fd) {
    const os::TerminationSignalsBlocked blocked;
    thread_ = std::thread([this] { read_all(); });
  }
  ~ReadAhead() {
    stopping_ = true;
    empty_.add();
    thread_.join();
  }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  /// The caller's until give_back(), one at a time. Not after a piece that is the end or an error.
  const Piece& next() {
    full_.take();
    return pieces_[taken_++ % kPieces];
  }
  void give_back() { empty_.add(); }

 private:
  void read_all() {
    os::expect_sequential_reads(fd_);
    uint64_t at = 0;
    for (size_t n = 0;; ++n) {
      empty_.take();
      if (stopping_) return;
      Piece& piece = pieces_[n % kPieces];
      auto length = os::read_at(fd_, piece.buffer, at);
      if (!length) piece.error = length.error();
      piece.length = length.value_or(0);
      at += piece.length;
      const bool last = piece.length == 0;  // once it is handed over it is the other thread's
      full_.add();
      if (last) return;
    }
  }

  const int fd_;
  std::array<Piece, kPieces> pieces_;
  const int tries_ = os::usable_cpus() > 1 ? 3000 : 0;
  Pieces empty_{kPieces, tries_}, full_{0, tries_};
  size_t taken_ = 0;  // by the caller
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

Result<std::string> hash_ahead(int fd, const std::atomic<bool>& cancelled, const std::function<void(uint64_t)>& progress) {
  auto hash = Sha256::make();
  if (!hash) return std::unexpected(hash.error());
  ReadAhead file(fd);
  uint64_t at = 0, reported = 0;
  auto when = std::chrono::steady_clock::now();
  for (;;) {
    if (cancelled.load(std::memory_order_relaxed)) return fail(Code::kBackendUnavailable, "hashing was stopped");
    const auto& piece = file.next();
    if (piece.error) return std::unexpected(*piece.error);
    if (piece.length == 0) return hash->finish();
    hash->update({piece.buffer.data(), piece.length});
    at += piece.length;
    file.give_back();
    const auto now = std::chrono::steady_clock::now();
    if (at - reported < kProgressBytes && now - when < kProgressTime) continue;
    when = now;
    progress(reported = at);
  }
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Result<Sha256> Sha256::make() {
  std::unique_ptr<evp_md_ctx_st, Free> context(EVP_MD_CTX_new());
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) return fail(Code::kInternal, "SHA-256 is not available");
  return Sha256(std::move(context));
}

void Sha256::update(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }

std::string Sha256::finish() {
  std::array<unsigned char, 32> digest{};
  EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
  return hex_text(digest);
}

Result<std::string> random_text(size_t bytes) {
  std::vector<unsigned char> random(bytes);
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) return fail(Code::kInternal, "no random numbers are available");
  auto text = hex_text(random);
  OPENSSL_cleanse(random.data(), random.size());  // it may become a key
  return text;
}

std::string hex_text(std::span<const unsigned char> bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

Result<std::string> sha256_of(int fd, const std::atomic<bool>& cancelled, const std::function<void(uint64_t)>& progress) {
  try {
    return hash_ahead(fd, cancelled, progress);
  } catch (const std::system_error& error) {
    return fail(Code::kIo, std::string("no thread to read a file with: ") + error.what());
  }
}

Result<std::string> sha256_of_text(std::string_view text) {
  auto hash = Sha256::make();
  if (!hash) return std::unexpected(hash.error());
  hash->update(text);
  return hash->finish();
}

}  // namespace inferd
