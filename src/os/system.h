// This process and its machine: who it is, signals, limits, CPUs, memory. Any thread.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace inferd::os {

uint32_t effective_user();
uint64_t process_id();

/// A text that changes with every start of the machine; empty where the system tells none.
std::string boot_id();

/// CPUs that this process may use: its affinity mask and its cgroup's quota (rounded up), at least 1.
size_t usable_cpus();

/// For a daemon's start, before any thread: a closed peer is an error and no signal; files and folders that it makes are its own,
/// whatever the umask was; its memory, which holds keys and what callers wrote, is in no core file, and no other program of the same user
/// reads it or its environment (PR_SET_DUMPABLE 0: /proc/PID/mem, environ, maps and fd are root's).
void prepare_process();

/// This thread, and threads that it starts, get no SIGTERM and no SIGINT any more. The main thread calls it when it has stopped, so that
/// a late signal does not change the exit code.
void block_termination_signals();

/// The same for a time: a thread that is started meanwhile never gets them.
class TerminationSignalsBlocked {
 public:
  TerminationSignalsBlocked();
  ~TerminationSignalsBlocked();
  TerminationSignalsBlocked(const TerminationSignalsBlocked&) = delete;
  TerminationSignalsBlocked& operator=(const TerminationSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

/// Ends the process at once, past every destructor.
[[noreturn]] void exit_now(int code);

/// True if a write to `fd` would not wait now.
bool is_writable(int fd);

/// Raises the soft limit of open descriptors to the hard one.
void raise_descriptor_limit();

/// Gives memory that free() keeps back to the system.
void trim_memory();

}  // namespace inferd::os
