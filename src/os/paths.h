// Where things are by default (spec 05 §4), and folders made as the daemon makes them. Any thread.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace inferd::os {

/// The value of an environment variable; empty counts as not set.
std::optional<std::string> env(const char* name);

/// $XDG_RUNTIME_DIR/inferd, else $HOME/.inferd/run, else /tmp/inferd-<uid>.
std::filesystem::path runtime_directory();

/// Where clients look for a socket, best first: the daemon's choice under any environment that it may have been started with, then
/// /run/inferd, the choice of the system's service.
std::vector<std::filesystem::path> runtime_directories_to_try();

/// True if `path` is a real folder that belongs to us or to root: a socket in it is not some other user's. /run/inferd may belong to the
/// service's user, as only root makes folders there.
bool is_trusted_directory(const std::filesystem::path& path);

/// The program `name` that belongs to the running one: beside it, or, where both were installed, in ../lib/inferd. If it is in neither, the
/// path beside it.
std::filesystem::path beside_or_lib(const std::string& name);

std::filesystem::path default_config_file();  // $HOME/.inferd/config.json
std::filesystem::path default_log_directory();  // $INFERD_LOG_DIR, else $HOME/.inferd/logs

/// Makes what is missing of `path`, each new folder 0700. An empty path is the current folder: nothing to do.
Status make_private_directories(const std::filesystem::path& path);

/// Makes the runtime folder 0700 (0750 and given to `group` if there is one) and checks that it is a real folder of our uid
/// that nobody else may write to.
Status prepare_runtime_directory(const std::filesystem::path& path, std::optional<gid_t> group);

/// With a group: every folder above `socket` must be one that the group can enter; an error names the first that is not.
Status check_group_can_reach(const std::filesystem::path& socket, gid_t group, const std::string& group_name);

}  // namespace inferd::os
