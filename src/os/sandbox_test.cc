#include "os/sandbox.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "os/landlock.h"
#include "os/sandbox_probe.h"
#include "os/seccomp_filter.h"
#include "os/unique_fd.h"

namespace inferd::os {
namespace {

// A sandbox is for good, so each is entered in a child. Its exit code is 0 or the line of the first thing that was wrong.
#define REQUIRE(what) \
  if (!(what)) return __LINE__

int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool refused(long result, int error) { return result < 0 && errno == error; }

// What a kernel without the feature answers: `calls` fail with `error` from now on.
bool pretend_without(std::initializer_list<int> calls, int error) {
  const std::unique_ptr<void, decltype(&seccomp_release)> filter(seccomp_init(SCMP_ACT_ALLOW), &seccomp_release);
  for (const int call : calls) {
    if (seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(static_cast<uint32_t>(error)), call, 0) != 0) return false;
  }
  return seccomp_load(filter.get()) == 0;
}

bool kernel_has_landlock() {
  return in_child([] { return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && enter_landlock() ? 0 : 1; }) == 0;
}

TEST(Sandbox, ModesHaveNamesAndAnUnknownOneIsStrict) {
  EXPECT_EQ(sandbox_mode("auto"), SandboxMode::kAuto);
  EXPECT_EQ(sandbox_mode("required"), SandboxMode::kRequired);
  EXPECT_EQ(sandbox_mode("off"), SandboxMode::kOff);
  EXPECT_EQ(sandbox_mode("of"), SandboxMode::kRequired);
}

TEST(Sandbox, OffChangesNothing) {
  EXPECT_EQ(in_child([] {
              const auto report = enter_sandbox(SandboxMode::kOff);
              REQUIRE(report && report->landlock_abi == 0 && !report->seccomp && report->missing.empty());
              REQUIRE(UniqueFd(::open("/etc/passwd", O_RDONLY)));
              REQUIRE(UniqueFd(::socket(AF_INET, SOCK_STREAM, 0)));
              REQUIRE(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 && ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
              return 0;
            }),
            0);
}

// Every way out, and what must work: the lines are in the test's output.
TEST(Sandbox, TheProbeFindsItClosed) { EXPECT_EQ(run_sandbox_probe(SandboxMode::kAuto), 0); }

TEST(Sandbox, TheProbeCanFail) { EXPECT_EQ(run_sandbox_probe(SandboxMode::kOff), 1); }

TEST(Sandbox, RightsAreGone) {
  int to_child[2], from_child[2];
  ASSERT_EQ(::pipe(to_child), 0);
  ASSERT_EQ(::pipe(from_child), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(to_child[1]);
    char byte = enter_sandbox(SandboxMode::kAuto) ? '+' : '-';
    ::_exit(::write(from_child[1], &byte, 1) == 1 && ::read(to_child[0], &byte, 1) == 0 ? 0 : 1);
  }
  ::close(from_child[1]);
  char byte = 0;
  EXPECT_EQ(::read(from_child[0], &byte, 1), 1);
  EXPECT_EQ(byte, '+');
  std::map<std::string, std::string> status;
  std::ifstream file("/proc/" + std::to_string(child) + "/status");
  for (std::string name, value; file >> name && std::getline(file >> std::ws, value);) status[name] = value;
  ::close(to_child[1]);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  const std::string none(16, '0');
  for (const char* set : {"CapInh:", "CapPrm:", "CapEff:", "CapAmb:"}) EXPECT_EQ(status[set], none) << set;
  if (::geteuid() == 0) {
    EXPECT_EQ(status["CapBnd:"], none);
  }
  EXPECT_EQ(status["NoNewPrivs:"], "1");
  EXPECT_EQ(status["Seccomp:"], "2");
  for (const int fd : {to_child[0], from_child[0]}) ::close(fd);
}

TEST(Sandbox, AThreadThatRunsAlreadyIsAnError) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer has a thread of its own";
#endif
  EXPECT_EQ(in_child([] {
              std::mutex mutex;
              std::condition_variable changed;
              bool ends = false;
              std::thread thread([&] {
                std::unique_lock lock(mutex);
                changed.wait(lock, [&] { return ends; });
              });
              const auto report = enter_sandbox(SandboxMode::kAuto);
              {
                const std::lock_guard lock(mutex);
                ends = true;
              }
              changed.notify_all();
              thread.join();
              REQUIRE(!report && report.error().code == Code::kInternal);
              return 0;
            }),
            0);
}

TEST(Sandbox, WithoutLandlockAutoReportsAndRequiredFails) {
  for (const int error : {ENOSYS, EOPNOTSUPP}) {
    EXPECT_EQ(in_child([&] {
                REQUIRE(pretend_without({SCMP_SYS(landlock_create_ruleset)}, error));
                const auto report = enter_sandbox(SandboxMode::kAuto);
                REQUIRE(report && report->landlock_abi == 0 && report->seccomp);
                REQUIRE(report->missing.starts_with("Landlock ("));
                REQUIRE(refused(::open("/etc/passwd", O_RDONLY), EPERM));
                return 0;
              }),
              0);
    EXPECT_EQ(in_child([&] {
                REQUIRE(pretend_without({SCMP_SYS(landlock_create_ruleset)}, error));
                const auto report = enter_sandbox(SandboxMode::kRequired);
                REQUIRE(!report && report.error().code == Code::kNotPermitted);
                REQUIRE(report.error().message.find("Landlock (") != std::string::npos);
                return 0;
              }),
              0);
  }
}

TEST(Sandbox, WithoutSeccompAutoReportsAndRequiredFails) {
  EXPECT_EQ(in_child([] {
              REQUIRE(pretend_without({SCMP_SYS(seccomp)}, ENOSYS));
              const auto report = enter_sandbox(SandboxMode::kAuto);
              REQUIRE(report && !report->seccomp && report->missing.find("seccomp (") != std::string::npos);
              return 0;
            }),
            0);
  EXPECT_EQ(in_child([] {
              REQUIRE(pretend_without({SCMP_SYS(seccomp)}, ENOSYS));
              const auto report = enter_sandbox(SandboxMode::kRequired);
              REQUIRE(!report && report.error().message.find("seccomp (") != std::string::npos);
              return 0;
            }),
            0);
}

TEST(Landlock, AloneItRefusesFilesPortsAndSignals) {
  if (!kernel_has_landlock()) GTEST_SKIP() << "this kernel has no Landlock";
  EXPECT_EQ(in_child([] {
              const UniqueFd before(::open("/etc/passwd", O_RDONLY));
              const UniqueFd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
              REQUIRE(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
              const auto abi = enter_landlock();
              REQUIRE(abi && *abi >= 1);
              REQUIRE(refused(::open("/etc/passwd", O_RDONLY), EACCES));
              REQUIRE(refused(::open("/", O_RDONLY | O_DIRECTORY), EACCES));
              REQUIRE(refused(::open("/tmp", O_RDWR | O_TMPFILE, 0600), EACCES));
              REQUIRE(refused(::mkdir("/tmp/inferd-sandbox-test", 0700), EACCES));
              char byte;
              REQUIRE(::read(before.get(), &byte, 1) == 1);
              const UniqueFd memory(::memfd_create("inferd-sandbox-test", MFD_CLOEXEC));
              REQUIRE(memory && ::ftruncate(memory.get(), 4096) == 0);
              if (*abi >= 4) {
                sockaddr_in to{};
                to.sin_family = AF_INET;
                to.sin_port = htons(1);
                to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
                REQUIRE(refused(::connect(tcp.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), EACCES));
              }
              if (*abi >= 6) REQUIRE(refused(::kill(::getppid(), 0), EPERM));
              return 0;
            }),
            0);
}

TEST(SeccompFilter, AloneItRefusesForThreadsToo) {
  EXPECT_EQ(in_child([] {
              REQUIRE(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
              REQUIRE(load_seccomp_filter());
              bool file = false, network = false, process = false;
              std::thread([&] {
                file = refused(::open("/etc/passwd", O_RDONLY), EPERM);
                network = refused(::socket(AF_INET, SOCK_STREAM, 0), EPERM);
                process = refused(::kill(::getppid(), 0), EPERM);
              }).join();
              REQUIRE(file && network && process);
              return 0;
            }),
            0);
}

TEST(SeccompFilter, AnAssertionStillAborts) {
  EXPECT_EQ(in_child([] {
              REQUIRE(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
              ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // no core file
              REQUIRE(load_seccomp_filter());
              std::abort();
            }),
            -SIGABRT);
}

}  // namespace
}  // namespace inferd::os
