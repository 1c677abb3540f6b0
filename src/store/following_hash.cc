#include "store/following_hash.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <vector>

#include "os/file_reader.h"
#include "os/system.h"

namespace inferd::store {
namespace {
constexpr size_t kPieceBytes = 256 * 1024;
constexpr auto kTick = std::chrono::milliseconds(100);
}  // namespace

Result<std::unique_ptr<FollowingHash>> FollowingHash::start(int fd) {
  auto hash = Sha256::make();
  if (!hash) return std::unexpected(hash.error());
  try {
    return std::unique_ptr<FollowingHash>(new FollowingHash(fd, std::move(*hash)));
  } catch (const std::system_error& error) {
    return fail(Code::kIo, std::string("no thread to hash with: ") + error.what());
  }
}

FollowingHash::FollowingHash(int fd, Sha256 hash) : fd_(fd), hash_(std::move(hash)) {
  const os::TerminationSignalsBlocked blocked;
  thread_ = std::thread([this] { follow(); });
}

FollowingHash::~FollowingHash() { stop(); }

void FollowingHash::available(uint64_t end) {
  {
    std::lock_guard lock(mutex_);
    available_ = end;
  }
  more_.notify_one();
}

void FollowingHash::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  more_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void FollowingHash::follow() {
  std::vector<char> buffer(kPieceBytes);
  uint64_t at = 0;
  for (;;) {
    uint64_t end;
    {
      std::unique_lock lock(mutex_);
      more_.wait(lock, [&] { return stopping_ || available_ > at; });
      if (stopping_) return;
      end = std::min(available_, at + kPieceBytes);
    }
    const size_t wanted = end - at;
    auto length = os::read_at(fd_, {buffer.data(), wanted}, at);
    if (length && *length < wanted) length = fail(Code::kIntegrity, "a partial file became shorter while it was hashed");
    if (length) hash_.update({buffer.data(), wanted});
    at = end;
    {
      std::lock_guard lock(mutex_);
      hashed_ = at;
      if (!length) error_ = length.error();
    }
    done_.notify_one();
    if (!length) return;
  }
}

Result<std::string> FollowingHash::finish(uint64_t total, const std::atomic<bool>& cancelled,
                                          const std::function<void(uint64_t)>& progress) {
  for (;;) {
    uint64_t hashed;
    {
      std::unique_lock lock(mutex_);
      done_.wait_for(lock, kTick, [&] { return hashed_ >= total || error_.has_value(); });
      if (error_) return std::unexpected(*error_);
      hashed = hashed_;
    }
    progress(hashed);
    if (hashed >= total) break;
    if (cancelled.load(std::memory_order_relaxed)) return fail(Code::kBackendUnavailable, "hashing was stopped");
  }
  stop();
  return hash_.finish();
}

}  // namespace inferd::store
