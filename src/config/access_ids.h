// The ids behind the names of an access list. Called at the start and by --check-config, not for each connection: it asks the system's
// user database, which may be a network's. Blocks; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/config_file.h"

namespace inferd {

struct AccessIds {
  std::vector<int64_t> users, groups;
};

/// `place` names the rule in errors ("/etc/inferd.json: access.v1", Effective::place_of). A name that no user or group has is kUsage:
/// "/etc/inferd.json: access.v1.users[0]: no user \"bob\": ...".
Result<AccessIds> resolve_access(const AccessRule& rule, const std::string& place);

}  // namespace inferd
