#include "os/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "os/child_environment.h"
#include "os/os_error.h"
#include "os/unique_fd.h"

namespace inferd::os {
namespace {

struct Pipe {
  UniqueFd read_end, write_end;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return os_fail(errno, "pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// Reads both to their ends at once, so that the program never waits for a full pipe. What is beyond the bound is thrown away.
void drain(Pipe& out, Pipe& err, size_t most_bytes, ProgramEnd& end) {
  struct Source {
    UniqueFd& fd;
    std::string& text;
  };
  const std::array<Source, 2> sources{Source{out.read_end, end.out}, Source{err.read_end, end.err}};
  std::array<char, 16384> buffer;
  while (out.read_end || err.read_end) {
    std::array<pollfd, 2> waiting{pollfd{out.read_end.get(), POLLIN, 0}, pollfd{err.read_end.get(), POLLIN, 0}};  // -1: not looked at
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    for (size_t i = 0; i < sources.size(); ++i) {
      if (waiting[i].revents == 0) continue;
      const ssize_t n = ::read(waiting[i].fd, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        sources[i].fd.reset();
      } else {
        sources[i].text.append(buffer.data(), std::min(static_cast<size_t>(n), most_bytes - sources[i].text.size()));
      }
    }
  }
}

}  // namespace

Result<ProgramEnd> run_program(const std::filesystem::path& program, const std::vector<std::string>& arguments, size_t most_bytes) {
  auto out = make_pipe(), err = make_pipe();
  if (!out) return std::unexpected(out.error());
  if (!err) return std::unexpected(err.error());
  std::vector<std::string> copies{program.string()};
  copies.insert(copies.end(), arguments.begin(), arguments.end());
  const std::vector<char*> argv = to_pointers(copies);
  std::vector<std::string> seen = child_environment();
  const std::vector<char*> envp = to_pointers(seen);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out->write_end.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err->write_end.get(), STDERR_FILENO);
  pid_t pid = -1;
  const int code = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return os_fail(code, "start " + program.string());

  out->write_end.reset();
  err->write_end.reset();
  ProgramEnd end;
  drain(*out, *err, most_bytes, end);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return os_fail(errno, "wait for " + program.string());
  }
  if (WIFEXITED(status)) {
    end.exit_code = WEXITSTATUS(status);
  } else {
    const char* name = ::sigabbrev_np(WTERMSIG(status));
    end.signal = name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(WTERMSIG(status));
  }
  return end;
}

}  // namespace inferd::os
