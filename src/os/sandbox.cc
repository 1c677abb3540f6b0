#include "os/sandbox.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "os/landlock.h"
#include "os/os_error.h"
#include "os/seccomp_filter.h"

namespace inferd::os {
namespace {

// Capabilities and Landlock are a thread's own: one that runs already would keep what it has. ThreadSanitizer has one of its own.
bool has_other_threads() {
#ifdef __SANITIZE_THREAD__
  return false;
#else
  constexpr nlink_t kOneThread = 3;  // a folder for each thread, and the two links of every folder
  struct stat tasks{};
  return ::stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > kOneThread;
#endif
}

// Chat templates write the date, and localtime() looks at the zone's file each time if TZ does not name it.
void read_time_zone() {
  ::setenv("TZ", ":/etc/localtime", 0);
  ::tzset();
}

Status drop_capabilities() {
  // Without CAP_SETPCAP the bounding set stays; PR_SET_NO_NEW_PRIVS makes it as good as empty.
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capset, &header, none) != 0) return os_fail(errno, "drop all capabilities");
  return {};
}

}  // namespace

SandboxMode sandbox_mode(std::string_view name) {
  if (name == "auto") return SandboxMode::kAuto;
  return name == "off" ? SandboxMode::kOff : SandboxMode::kRequired;
}

Result<SandboxReport> enter_sandbox(SandboxMode mode) {
  SandboxReport report;
  if (mode == SandboxMode::kOff) return report;
  if (has_other_threads()) return fail(Code::kInternal, "the sandbox was to be entered after a thread was started");
  read_time_zone();
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return os_fail(errno, "PR_SET_NO_NEW_PRIVS");
  if (auto dropped = drop_capabilities(); !dropped) return std::unexpected(dropped.error());
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return os_fail(errno, "PR_SET_DUMPABLE");
  if (const auto abi = enter_landlock()) {
    report.landlock_abi = *abi;
  } else {
    report.missing = abi.error().message;
  }
  if (const auto loaded = load_seccomp_filter()) {
    report.seccomp = true;
  } else {
    report.missing += (report.missing.empty() ? "" : "; ") + loaded.error().message;
  }
  if (mode == SandboxMode::kRequired && !report.missing.empty()) {
    return fail(Code::kNotPermitted, "the sandbox is required, and the system lacks " + report.missing);
  }
  return report;
}

}  // namespace inferd::os
