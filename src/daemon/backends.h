// Builds the backends of the effective configuration, best first. I/O thread.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "config/effective.h"
#include "observe/event_bus.h"
#include "os/asio.h"
#include "os/worker_pool.h"

namespace inferd {

struct BackendContext {
  os::asio::io_context& io;
  EventBus& bus;
  os::WorkerPool& pool;
  std::shared_ptr<const std::atomic<bool>> stopping;  // hashing and fetching on the pool end when it becomes true
};

Result<std::vector<std::unique_ptr<Backend>>> make_backends(const Effective& effective, const BackendContext& context);

}  // namespace inferd
