// SHA-256 of a file, read through the descriptor that is used afterwards, so that what was checked is what is loaded. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"

namespace inferd {

/// 64 lower-case hex digits. `progress(bytes)` is called every 32 MiB; kBackendUnavailable once `cancelled` is set.
Result<std::string> sha256_of(int fd, const std::atomic<bool>& cancelled, const std::function<void(uint64_t)>& progress);

/// True if `text` is 64 hex digits of either case.
bool is_sha256(const std::string& text);

}  // namespace inferd
