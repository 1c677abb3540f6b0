#include "os/system.h"

#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "os/file_reader.h"

namespace inferd::os {
namespace {

// cgroup v2: "MAX PERIOD" in microseconds, MAX may be "max". The nearest folder with a limit counts; each parent may lower it.
double cgroup_quota() {
  std::ifstream self("/proc/self/cgroup");
  double lowest = 0;
  for (std::string line; std::getline(self, line);) {
    if (!line.starts_with("0::")) continue;
    for (std::string group = line.substr(3); !group.empty(); group = group.substr(0, group.rfind('/'))) {
      std::ifstream file("/sys/fs/cgroup" + (group == "/" ? "" : group) + "/cpu.max");
      std::string limit;
      double period = 0;
      if (file >> limit >> period && limit != "max" && period > 0) {
        const double cpus = std::strtod(limit.c_str(), nullptr) / period;
        if (cpus > 0 && (lowest == 0 || cpus < lowest)) lowest = cpus;
      }
      if (group.rfind('/') == std::string::npos) break;
    }
  }
  return lowest;
}

}  // namespace

uint32_t effective_user() { return ::geteuid(); }
uint64_t process_id() { return static_cast<uint64_t>(::getpid()); }

std::string boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id", 64);
  if (!text) return {};
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

size_t usable_cpus() {
  cpu_set_t mask;
  size_t cpus = 1;
  if (::sched_getaffinity(0, sizeof mask, &mask) == 0) cpus = static_cast<size_t>(std::max(1, CPU_COUNT(&mask)));
  if (const double quota = cgroup_quota(); quota > 0) cpus = std::min(cpus, static_cast<size_t>(std::ceil(quota)));
  return std::max<size_t>(1, cpus);
}

void prepare_process() {
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(0077);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // exec takes it back: an engine begins like any other program
}

namespace {

sigset_t block_termination() {
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &set, &before);
  return before;
}

}  // namespace

void block_termination_signals() { block_termination(); }

TerminationSignalsBlocked::TerminationSignalsBlocked() : before_(block_termination()) {}
TerminationSignalsBlocked::~TerminationSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

void exit_now(int code) { ::_exit(code); }

bool is_writable(int fd) {
  pollfd state{.fd = fd, .events = POLLOUT, .revents = 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & POLLOUT) != 0;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void trim_memory() { ::malloc_trim(0); }

}  // namespace inferd::os
