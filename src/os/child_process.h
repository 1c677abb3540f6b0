// Starts a program with chosen descriptors and learns of its end through a pidfd, so that no SIGCHLD handler is needed.
// The child dies with us (PR_SET_PDEATHSIG); its standard output goes to our standard error, its standard error to a pipe.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

class ChildProcess {
 public:
  /// `channel` becomes descriptor 3 of the child. Its standard input is empty, its environment child_environment(environment).
  static Result<ChildProcess> start(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                                    const std::vector<std::string>& environment, int channel);
  ChildProcess(ChildProcess&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), stderr_(std::move(other.stderr_)) {}
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();  // kills it if it still runs, and reaps it

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }  // readable when the process has ended
  int stderr_fd() const { return stderr_.get(); }

  struct End {
    std::string text;  // for the log: "exited with 1", "killed by SIGSEGV"
    int signal = 0;    // that killed it; 0: none
  };
  /// After pidfd() became readable.
  End reap();
  void kill();
  /// By SIGSTOP or its like, now.
  bool is_stopped() const;

 private:
  ChildProcess() = default;
  pid_t pid_ = -1;  // -1: reaped or moved from
  UniqueFd pidfd_;
  UniqueFd stderr_;
};

/// A signal that a process gets for its own fault: SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE.
bool is_crash(int signal);

}  // namespace inferd::os
