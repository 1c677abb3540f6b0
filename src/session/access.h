// Who may talk to a surface: the TCP key (spec 05 §6), and the log events of a peer that came or was turned away.
#pragma once

#include <string_view>

#include "observe/activity_log.h"
#include "request/caller.h"

namespace inferd {

/// The time taken depends on the lengths only.
bool equal_in_constant_time(std::string_view a, std::string_view b);

void log_connection_accepted(ActivityLog& log, const Caller& caller);
void log_auth_rejected(ActivityLog& log, const Caller& caller);

}  // namespace inferd
