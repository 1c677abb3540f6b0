#include "os/sandbox_probe.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "os/os_error.h"
#include "os/packet_socket.h"
#include "os/sandbox_attempts.h"

namespace inferd::os {
namespace {

struct Check {
  const char* name;
  std::function<bool()> works;
};

void say(const std::string& line) { std::puts(line.c_str()); }

std::string errno_text(int error) { return " (" + std::string(std::strerror(error)) + ")"; }

bool threads_work() {
  std::mutex mutex;
  std::condition_variable changed;
  int running = 0;
  const auto body = [&] {
    const std::lock_guard lock(mutex);
    ++running;
    changed.notify_all();
  };
  std::thread first(body), second(body);
  bool both;
  {
    std::unique_lock lock(mutex);
    both = changed.wait_for(lock, std::chrono::seconds(10), [&] { return running == 2; });
  }
  first.join();
  second.join();
  return both;
}

bool memory_works() {
  std::vector<char> large(64u << 20, 'x');
  large.resize(128u << 20);
  return large.front() == 'x';
}

bool memfd_works() {
  const UniqueFd fd(::memfd_create("inferd-sandbox-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), 4096) != 0 || ::write(fd.get(), "text", 4) != 4) return false;
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) != 0) return false;
  void* at = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd.get(), 0);
  return at != MAP_FAILED && std::memcmp(at, "text", 4) == 0 && ::munmap(at, 4096) == 0;
}

// As llama.cpp reads a model: a FILE* of a copy of the descriptor, its length by seeking, then a mapping.
bool open_file_works(int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  FILE* file = copy < 0 ? nullptr : ::fdopen(copy, "rb");
  if (file == nullptr) return false;
  char text[4] = {};
  const bool read = std::fseek(file, 0, SEEK_END) == 0 && std::ftell(file) == 4 && std::fseek(file, 0, SEEK_SET) == 0 &&
                    std::fread(text, 1, sizeof text, file) == sizeof text && std::memcmp(text, "text", sizeof text) == 0;
  ::posix_fadvise(copy, 0, 0, POSIX_FADV_SEQUENTIAL);
  void* at = ::mmap(nullptr, sizeof text, PROT_READ, MAP_SHARED, copy, 0);
  const bool mapped = at != MAP_FAILED && ::madvise(at, sizeof text, MADV_WILLNEED) == 0 && std::memcmp(at, "text", sizeof text) == 0;
  std::fclose(file);
  return read && mapped;
}

// A short message with a descriptor, and one that travels as a memfd.
bool messages_work(int from, int to, int descriptor) {
  const std::string longer(2 * kMaxInlinePacket, 'x');
  for (const std::string& message : {std::string("short"), longer}) {
    const auto sent = send_packet(from, message, std::span(&descriptor, 1));
    pollfd waiting{.fd = to, .events = POLLIN, .revents = 0};
    if (!sent || *sent != PacketState::kDone || ::poll(&waiting, 1, 1000) != 1) return false;
    Packet packet;
    const auto received = receive_packet(to, packet);
    if (!received || packet.bytes != message || packet.descriptors.size() != 1) return false;
  }
  return true;
}

bool clocks_work() {
  const auto before = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  timespec cpu{};
  return std::chrono::steady_clock::now() > before && std::time(nullptr) > 0 && ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu) == 0;
}

int local_hour() {
  const std::time_t winter = 1'700'000'000;
  return std::localtime(&winter)->tm_hour;
}

bool exceptions_work() {
  try {
    throw std::runtime_error("thrown");
  } catch (const std::exception& caught) {
    return std::strcmp(caught.what(), "thrown") == 0;
  }
}

volatile sig_atomic_t g_signal = 0;

bool signals_work() {
  ::signal(SIGUSR1, [](int number) { g_signal = number; });
  return ::raise(SIGUSR1) == 0 && g_signal == SIGUSR1;
}

/// In the child. True if all is as it should be.
bool probe(SandboxMode mode, const Targets& targets) {
  const auto channel = packet_socket_pair();
  if (!channel || ::write(targets.open_file.get(), "text", 4) != 4) {
    say("the probe cannot be prepared" + errno_text(errno));
    return false;
  }
  const std::vector<Attempt> attempts = escape_attempts(targets);
  const int hour = local_hour();
  const auto entered = enter_sandbox(mode);
  if (!entered) {
    say(entered.error().message);
    return false;
  }
  say("Landlock version " + std::to_string(entered->landlock_abi) + ", seccomp " + (entered->seccomp ? "yes" : "no") +
      (entered->missing.empty() ? "" : ", missing: " + entered->missing));
  const std::vector<Check> checks = {
      {"threads", &threads_work},
      {"memory", &memory_works},
      {"a memfd, sealed and mapped", &memfd_works},
      {"reading and mapping an open file", [&] { return open_file_works(targets.open_file.get()); }},
      {"messages and descriptors on an open socket",
       [&] { return messages_work(channel->first.get(), channel->second.get(), targets.open_file.get()); }},
      {"clocks and sleep", &clocks_work},
      {"local time", [&] { return local_hour() == hour; }},
      {"random numbers", [] { return std::random_device()() != std::random_device()(); }},
      {"exceptions", &exceptions_work},
      {"signals to ourselves", &signals_work},
  };
  bool good = true;
  for (const Check& check : checks) {
    const bool works = check.works();
    say((works ? "works    " : "BROKEN   ") + std::string(check.name));
    good = good && works;
  }
  for (const Attempt& attempt : attempts) {
    errno = 0;
    const bool succeeded = attempt.run() >= 0;
    const int error = errno;
    const bool refused = !succeeded && (error == EPERM || error == EACCES || error == ENOSYS);
    say((refused ? "refused  " : "ALLOWED  ") + attempt.name + (succeeded ? "" : errno_text(error)));
    good = good && refused;
  }
  return good;
}

}  // namespace

int run_sandbox_probe(SandboxMode mode) {
  const auto targets = make_targets();
  if (!targets) {
    say(targets.error().message);
    return 1;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // a line is out before the next attempt, whatever that does
  const pid_t child = ::fork();
  if (child == 0) ::_exit(probe(mode, *targets) ? 0 : 1);
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  remove_targets(*targets);
  if (child < 0) say("the probe cannot fork" + errno_text(errno));
  if (WIFSIGNALED(status)) say("the probe was killed by signal " + std::to_string(WTERMSIG(status)));
  return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace inferd::os
