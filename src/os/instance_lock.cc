#include "os/instance_lock.h"

#include <utility>

#include "os/paths.h"

namespace inferd::os {

Result<InstanceLock> InstanceLock::acquire(const std::filesystem::path& path) {
  if (auto made = make_private_directories(path.parent_path()); !made) return std::unexpected(made.error());
  auto lock = FileLock::try_exclusive(path);
  if (!lock) return std::unexpected(lock.error());
  if (!*lock) {
    return fail(Code::kInUse, "lock file " + path.string() + " is held by another process: is an inferd-daemon running already?");
  }
  return InstanceLock(std::move(**lock));
}

}  // namespace inferd::os
