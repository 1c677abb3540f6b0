// What every session of a daemon shares: the scheduler, the log, the pool, the limits, and who is connected.
// Built and owned by daemon/; I/O thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "observe/activity_log.h"
#include "os/asio.h"
#include "os/poller.h"
#include "os/worker_pool.h"
#include "schedule/dispatch.h"

namespace inferd {

class Connection;

struct SessionContext {
  os::asio::io_context& io;
  os::Poller& poller;
  Scheduler& scheduler;
  ActivityLog& log;
  os::WorkerPool& pool;
  uint64_t max_buffered_bytes = 512u << 20;  // unfinished input over all connections
  std::chrono::seconds write_timeout{60};

  bool draining = false;
  uint64_t next_serial = 0;  // of connections
  std::set<std::shared_ptr<Connection>> connections;  // the open ones; keeps them alive
  uint64_t buffered_bytes = 0;               // input held now, over all connections, that is not a request yet
  std::function<void()> on_idle;             // while draining: called when a connection has become idle or is gone
};

}  // namespace inferd
