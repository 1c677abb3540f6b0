#include "os/landlock.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "os/os_error.h"
#include "os/unique_fd.h"

namespace inferd::os {
namespace {

// From here to the scopes as in Linux's include/uapi/linux/landlock.h; Debian 12's copy ends with ABI 2. A kernel that knows fewer
// fields takes the longer structure if the rest is zero.
struct RulesetAttributes {
  uint64_t handled_access_fs;
  uint64_t handled_access_net;
  uint64_t scoped;
};
constexpr unsigned kQueryVersion = 1;

constexpr uint64_t first_bits(int count) { return (uint64_t{1} << count) - 1; }

// Rights of later versions stay as they are: nobody has tried them with the engine, and seccomp refuses the calls anyway.
constexpr uint64_t rights_on_files(int abi) {
  if (abi >= 9) return first_bits(17);  // and to connect to a socket's path
  if (abi >= 5) return first_bits(16);  // and ioctl on devices
  if (abi >= 3) return first_bits(15);  // and truncate
  if (abi >= 2) return first_bits(14);  // and links and renames between folders
  return first_bits(13);                // open, execute, list, make and remove
}
constexpr uint64_t rights_on_network(int abi) { return abi >= 4 ? first_bits(2) : 0; }  // bind and connect, TCP
constexpr uint64_t scopes(int abi) { return abi >= 6 ? first_bits(2) : 0; }  // abstract Unix sockets, signals

std::string reason(int error) {
  switch (error) {
    case ENOSYS:
      return "Landlock (the kernel has none: it needs Linux 5.13 with CONFIG_SECURITY_LANDLOCK)";
    case EOPNOTSUPP:
      return "Landlock (switched off when the kernel started: add landlock to its lsm= parameter)";
    default:
      return os_error(error, "Landlock").message;
  }
}

}  // namespace

Result<int> landlock_version() {
  const auto abi = static_cast<int>(::syscall(SYS_landlock_create_ruleset, nullptr, 0, kQueryVersion));
  if (abi < 0) return fail(Code::kNotPermitted, reason(errno));
  return abi;
}

Result<int> enter_landlock() {
  const auto abi = landlock_version();
  if (!abi) return abi;
  const RulesetAttributes attributes{
      .handled_access_fs = rights_on_files(*abi), .handled_access_net = rights_on_network(*abi), .scoped = scopes(*abi)};
  const UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
  if (!ruleset || ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) return fail(Code::kNotPermitted, reason(errno));
  return abi;
}

}  // namespace inferd::os
