#include "os/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "os/child_environment.h"
#include "os/os_error.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace inferd::os {
namespace {
constexpr int kChannelInChild = 3;
}

Result<ChildProcess> ChildProcess::start(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                                         const std::vector<std::string>& environment, int channel) {
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return os_fail(errno, "pipe");
  UniqueFd read_end(pipe_fds[0]), write_end(pipe_fds[1]);
  // The exec error comes back through a second pipe, which closes by itself when exec succeeds.
  int exec_fds[2];
  if (::pipe2(exec_fds, O_CLOEXEC) != 0) return os_fail(errno, "pipe");
  UniqueFd exec_read(exec_fds[0]), exec_write(exec_fds[1]);

  std::vector<std::string> copies;
  copies.push_back(program.string());
  copies.insert(copies.end(), arguments.begin(), arguments.end());
  const std::vector<char*> argv = to_pointers(copies);
  std::vector<std::string> seen = child_environment(environment);
  const std::vector<char*> envp = to_pointers(seen);
  const UniqueFd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!nothing) return os_fail(errno, "open /dev/null");

  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return os_fail(errno, "fork");
  if (pid == 0) {
    // Only async-signal-safe calls from here on.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    // They may go to the whole group (Ctrl-C, a service manager, a closed terminal): the daemon decides when the engine ends.
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGTERM, SIG_IGN);
    ::signal(SIGPIPE, SIG_DFL);
    ::dup2(nothing.get(), STDIN_FILENO);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    ::dup2(write_end.get(), STDERR_FILENO);
    if (channel == kChannelInChild) {
      ::fcntl(channel, F_SETFD, 0);
    } else {
      ::dup2(channel, kChannelInChild);
    }
    // exec_write may itself be descriptor 3 only if the caller's descriptors start below it, which they do not.
    ::execve(argv[0], argv.data(), envp.data());
    const int error = errno;
    [[maybe_unused]] const ssize_t written = ::write(exec_write.get(), &error, sizeof error);
    ::_exit(127);
  }
  ChildProcess child;
  child.pid_ = pid;
  child.pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  child.stderr_ = std::move(read_end);
  exec_write.reset();
  int error = 0;
  if (::read(exec_read.get(), &error, sizeof error) == sizeof error) {
    return os_fail(error, "start " + program.string());
  }
  if (!child.pidfd_) return os_fail(errno, "pidfd_open");
  ::fcntl(child.stderr_.get(), F_SETFL, O_NONBLOCK);
  return child;
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    kill();
    reap();
  }
}

bool ChildProcess::is_stopped() const {
  siginfo_t info{};
  return ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_;
}

void ChildProcess::kill() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

ChildProcess::End ChildProcess::reap() {
  int status = 0;
  pid_t got;
  do {
    got = ::waitpid(pid_, &status, 0);
  } while (got < 0 && errno == EINTR);
  pid_ = -1;
  if (got < 0) return {"ended"};
  if (WIFEXITED(status)) return {"exited with " + std::to_string(WEXITSTATUS(status))};
  const char* name = ::sigabbrev_np(WTERMSIG(status));
  return {std::string("killed by SIG") + (name != nullptr ? name : std::to_string(WTERMSIG(status))), WTERMSIG(status)};
}

bool is_crash(int signal) {
  return signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGILL || signal == SIGFPE;
}

}  // namespace inferd::os
