#include "os/seccomp_filter.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "os/os_error.h"

namespace inferd::os {
namespace {

// Allowed whatever the arguments are. Those on descriptors act on what is open already. Nothing here takes a path: newfstatat() does,
// even for an open file, and glibc's fstat() calls it; so fstat() is refused, and stdio and our code do without it. Nothing names
// another process, but for sched_getaffinity(), which only reads.
// Sanitizer builds have the same list: their reports then name no functions (addr2line does), and they look for no leaks.
constexpr int kAllowed[] = {
    // Memory. Executable memory is excluded below.
    SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(mremap), SCMP_SYS(munmap),
    // Open descriptors: the model, messages in memfds, standard streams. A sendmsg() with an address goes nowhere: the one socket is
    // a SOCK_SEQPACKET pair, for which the kernel ignores it.
    SCMP_SYS(close), SCMP_SYS(dup), SCMP_SYS(fadvise64), SCMP_SYS(fstat), SCMP_SYS(ftruncate), SCMP_SYS(lseek), SCMP_SYS(memfd_create),
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(pread64), SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg),
    SCMP_SYS(write), SCMP_SYS(writev),
    // Threads. clone() is below.
    SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(futex), SCMP_SYS(getcpu), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(rseq),
    SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_yield), SCMP_SYS(set_robust_list),
    // Signals. tgkill() is below.
    SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    // Time, random numbers, what this process uses, how much memory there is (malloc, qsort and ggml ask).
    SCMP_SYS(clock_getres), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(getrandom), SCMP_SYS(getrusage),
    SCMP_SYS(gettimeofday), SCMP_SYS(nanosleep), SCMP_SYS(sysinfo), SCMP_SYS(time),
};

// No locks, leases, owners or notifications.
constexpr int kFcntlCommands[] = {F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS, F_GET_SEALS};

constexpr uint64_t kNewNamespaces =
    CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS;

scmp_arg_cmp equals(unsigned argument, uint64_t value) {
  return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}
scmp_arg_cmp masked(unsigned argument, uint64_t mask, uint64_t value) {
  return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM)), &seccomp_release) {
    if (!context_) error_ = ENOMEM;
  }

  void set(scmp_filter_attr attribute, uint32_t value) {
    if (error_ == 0) error_ = -seccomp_attr_set(context_.get(), attribute, value);
  }
  void add(uint32_t action, int call, const std::vector<scmp_arg_cmp>& conditions = {}) {
    if (error_ != 0) return;
    error_ = -seccomp_rule_add_array(context_.get(), action, call, static_cast<unsigned>(conditions.size()), conditions.data());
  }
  void allow(int call, const std::vector<scmp_arg_cmp>& conditions = {}) { add(SCMP_ACT_ALLOW, call, conditions); }

  /// 0 or errno's value, also of an earlier call.
  int load() {
    if (error_ == 0) error_ = -seccomp_load(context_.get());
    return error_ == ECANCELED ? errno : error_;  // ECANCELED: the kernel refuses, errno says why
  }

 private:
  std::unique_ptr<void, decltype(&seccomp_release)> context_;
  int error_ = 0;
};

}  // namespace

Status load_seccomp_filter() {
  Filter filter;
  filter.set(SCMP_FLTATR_CTL_TSYNC, 1);
  // System calls of another architecture (i386, x32) are refused like the others, so that the probe can try them.
  filter.set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
  for (const int call : kAllowed) filter.allow(call);
  // No new executable memory: the CPU variant has been loaded.
  filter.allow(SCMP_SYS(mmap), {masked(2, PROT_EXEC, 0)});
  filter.allow(SCMP_SYS(mprotect), {masked(2, PROT_EXEC, 0)});
  // Threads, no processes. The flags of clone3() are in memory, where no filter sees them: without it glibc calls clone().
  filter.allow(SCMP_SYS(clone), {masked(0, CLONE_THREAD | kNewNamespaces, CLONE_THREAD)});
  filter.add(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
  // abort() and raise().
  filter.allow(SCMP_SYS(tgkill), {equals(0, static_cast<uint64_t>(::getpid()))});
  for (const int command : kFcntlCommands) filter.allow(SCMP_SYS(fcntl), {equals(1, static_cast<uint64_t>(command))});
  filter.allow(SCMP_SYS(prctl), {equals(0, PR_SET_NAME)});
  filter.allow(SCMP_SYS(prlimit64), {equals(0, 0), equals(2, 0)});  // own limits, reading only
  if (const int error = filter.load(); error != 0) {
    const bool none = error == EINVAL || error == ENOSYS || error == EOPNOTSUPP;
    return none ? fail(Code::kNotPermitted, "seccomp (the kernel has none: it needs CONFIG_SECCOMP_FILTER)") : os_fail(error, "seccomp");
  }
  return {};
}

}  // namespace inferd::os
