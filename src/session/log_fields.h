// Fields that the records of several sessions have. Pure functions.
#pragma once

#include <chrono>
#include <cstdint>

#include "observe/activity_log.h"
#include "session/connection.h"

namespace inferd {

/// Left out if it never came to that.
ActivityLog::Value milliseconds(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to);

/// A uid, gid or pid; left out on TCP.
ActivityLog::Value if_known(int64_t id);

/// v1's records have none.
ActivityLog::Value wire_version(const SessionKind& kind);

}  // namespace inferd
