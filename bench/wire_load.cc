// The load generator for v1: a closed loop over N connections from T threads. Each connection sends one request line,
// waits for the frame that ends it, and sends the next, until TOTAL requests are answered. Prints one JSON object.
//
//   wire_load --socket PATH --connections N --requests TOTAL --pid SERVER_PID [--warmup K] [--threads T]
//
// With one thread (the default) the client is as cheap as it can be and is woken once for many answers. With a thread for each
// connection it is what callers are: programs of their own, each of which sleeps until its answer wakes it.
//
// Server CPU is the CPU clock of the process SERVER_PID: user + system of all its threads, those that have ended
// included, in nanoseconds (clock_getcpuclockid(3)). It is read kSettle after the last answer, so that work which the
// server puts off until after the answer, such as writing its log, is counted too.
//
// Exit codes: 0 all answered with `done`; 1 an error frame, a lost connection or a stall; 2 usage.

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr std::string_view kRequest =
    R"({"id":"b","messages":[{"role":"user","content":"Say one short sentence about the sea."}],)"
    R"("temperature":0,"max_tokens":32})"
    "\n";
constexpr std::string_view kToken = R"({"type":"token",)";
constexpr std::string_view kDone = R"({"type":"done","id":"b",)";
constexpr std::string_view kError = R"({"type":"error",)";

constexpr int kEventsPerWait = 256;
constexpr int kStallMilliseconds = 10'000;
constexpr timespec kSettle{.tv_sec = 0, .tv_nsec = 300'000'000};

struct Options {
  std::string socket;
  std::uint64_t connections = 0;
  std::uint64_t requests = 0;
  std::uint64_t warmup = 0;
  std::uint64_t pid = 0;
  std::uint64_t threads = 1;
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "wire_load: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

[[noreturn]] void usage(const std::string& why) {
  std::fprintf(
      stderr,
      "wire_load: %s\nusage: wire_load --socket PATH --connections N --requests TOTAL --pid SERVER_PID [--warmup K] "
      "[--threads T]\n",
      why.c_str());
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  const std::map<std::string_view, std::uint64_t*> numbers{{"--connections", &options.connections},
                                                           {"--requests", &options.requests},
                                                           {"--warmup", &options.warmup},
                                                           {"--pid", &options.pid},
                                                           {"--threads", &options.threads}};
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) usage(std::string(name) + " needs a value");
    const std::string_view value = argv[i + 1];
    if (name == "--socket") {
      options.socket = value;
    } else if (const auto number = numbers.find(name); number != numbers.end()) {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), *number->second);
      if (error != std::errc{} || end != value.data() + value.size()) usage(std::string(name) + " needs a number");
    } else {
      usage("unknown option " + std::string(name));
    }
  }
  if (options.socket.empty() || options.connections == 0 || options.requests == 0 || options.pid == 0)
    usage("--socket, --connections, --requests and --pid are required");
  if (options.threads == 0 || options.connections % options.threads != 0 || options.requests % options.threads != 0 ||
      options.warmup % options.threads != 0)
    usage("--connections, --requests and --warmup must be multiples of --threads");
  return options;
}

std::uint64_t nanoseconds(clockid_t clock) {
  timespec at{};
  if (::clock_gettime(clock, &at) != 0) fail("clock_gettime");
  return static_cast<std::uint64_t>(at.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(at.tv_nsec);
}

struct Connection {
  int fd = -1;
  bool waiting = false;
  std::uint64_t sent_at = 0;  // nanoseconds, CLOCK_MONOTONIC
  std::string partial;        // the beginning of a frame whose end has not arrived
};

struct Outcome {
  std::uint64_t done = 0;
  std::uint64_t errors = 0;
  std::uint64_t tokens = 0;
  std::uint64_t bytes = 0;
  double seconds = 0;
  std::vector<std::uint32_t> round_trips;  // nanoseconds
  std::map<std::string, std::uint64_t> causes;
};

class Load {
 public:
  Load(const std::string& path, std::uint64_t connections)
      : epoll_(::epoll_create1(EPOLL_CLOEXEC)), connections_(connections) {
    if (epoll_ < 0) fail("epoll_create1");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) usage("socket path too long");
    std::memcpy(address.sun_path, path.data(), path.size());
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (fd < 0) fail("socket");
      if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail(path);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = i;
      if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
      connections_[i].fd = fd;
    }
  }

  // Sends `requests` requests and returns when each has its answer.
  Outcome run(std::uint64_t requests) {
    outcome_ = {};
    outcome_.round_trips.reserve(requests);
    unsent_ = requests;
    running_ = 0;
    const std::uint64_t start = nanoseconds(CLOCK_MONOTONIC);
    for (Connection& connection : connections_) send_next(connection);
    std::array<epoll_event, kEventsPerWait> events{};
    while (running_ > 0) {
      const int n = ::epoll_wait(epoll_, events.data(), kEventsPerWait, kStallMilliseconds);
      if (n < 0) {
        if (errno == EINTR) continue;
        fail("epoll_wait");
      }
      if (n == 0) {
        std::fprintf(stderr, "wire_load: no answer for %d s, %llu requests open\n", kStallMilliseconds / 1000,
                     static_cast<unsigned long long>(running_));
        std::exit(1);
      }
      for (int i = 0; i < n; ++i) receive(connections_[events[i].data.u64]);
    }
    outcome_.seconds = static_cast<double>(nanoseconds(CLOCK_MONOTONIC) - start) / 1e9;
    return std::move(outcome_);
  }

 private:
  void send_next(Connection& connection) {
    if (unsent_ == 0 || connection.fd < 0) return;
    --unsent_;
    ++running_;
    connection.waiting = true;
    connection.sent_at = nanoseconds(CLOCK_MONOTONIC);
    // One short line on a connection without unread input always fits.
    if (::send(connection.fd, kRequest.data(), kRequest.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(kRequest.size()))
      lose(connection, std::string("send: ") + std::strerror(errno));
  }

  void receive(Connection& connection) {
    const ssize_t got = ::recv(connection.fd, input_.data(), input_.size(), 0);
    if (got <= 0) {
      if (got < 0 && errno == EINTR) return;
      lose(connection, got == 0 ? "closed by the server" : std::string("recv: ") + std::strerror(errno));
      return;
    }
    outcome_.bytes += got;
    std::string_view rest(input_.data(), got);
    for (std::size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
      if (connection.partial.empty()) {
        frame(connection, rest.substr(0, end));
      } else {
        connection.partial.append(rest.substr(0, end));
        const std::string line = std::move(connection.partial);
        connection.partial.clear();
        frame(connection, line);
      }
      if (connection.fd < 0) return;
    }
    connection.partial.append(rest);
  }

  void frame(Connection& connection, std::string_view line) {
    if (line.starts_with(kToken)) {
      ++outcome_.tokens;
      return;
    }
    if (!connection.waiting) {
      lose(connection, "frame after the end: " + std::string(line));
      return;
    }
    if (line.starts_with(kDone)) {
      outcome_.round_trips.push_back(static_cast<std::uint32_t>(
          std::min<std::uint64_t>(nanoseconds(CLOCK_MONOTONIC) - connection.sent_at, UINT32_MAX)));
      ++outcome_.done;
    } else if (line.starts_with(kError)) {
      count_error(std::string(line));
    } else {
      lose(connection, "unknown frame: " + std::string(line));
      return;
    }
    --running_;
    connection.waiting = false;
    send_next(connection);
  }

  void count_error(const std::string& cause) {
    ++outcome_.errors;
    ++outcome_.causes[cause.substr(0, 200)];
  }

  void lose(Connection& connection, const std::string& cause) {
    count_error(cause);
    if (connection.waiting) --running_;
    connection.waiting = false;
    ::close(connection.fd);
    connection.fd = -1;
  }

  int epoll_;
  std::vector<Connection> connections_;
  std::uint64_t unsent_ = 0;
  std::uint64_t running_ = 0;
  Outcome outcome_;
  std::array<char, 65536> input_{};
};

// The connections of all threads; the outcomes are added up.
class Crowd {
 public:
  Crowd(const Options& options) {
    for (std::uint64_t i = 0; i < options.threads; ++i)
      loads_.push_back(std::make_unique<Load>(options.socket, options.connections / options.threads));
  }

  Outcome run(std::uint64_t requests) {
    if (loads_.size() == 1) return loads_.front()->run(requests);
    std::vector<Outcome> outcomes(loads_.size());
    std::vector<std::thread> threads;
    const std::uint64_t start = nanoseconds(CLOCK_MONOTONIC);
    for (std::size_t i = 0; i < loads_.size(); ++i)
      threads.emplace_back([&, i] { outcomes[i] = loads_[i]->run(requests / loads_.size()); });
    for (std::thread& thread : threads) thread.join();
    Outcome all;
    all.seconds = static_cast<double>(nanoseconds(CLOCK_MONOTONIC) - start) / 1e9;
    for (Outcome& one : outcomes) {
      all.done += one.done;
      all.errors += one.errors;
      all.tokens += one.tokens;
      all.bytes += one.bytes;
      all.round_trips.insert(all.round_trips.end(), one.round_trips.begin(), one.round_trips.end());
      for (const auto& [cause, count] : one.causes) all.causes[cause] += count;
    }
    return all;
  }

 private:
  std::vector<std::unique_ptr<Load>> loads_;
};

double microseconds_at(std::vector<std::uint32_t>& sorted, double quantile) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<std::size_t>(quantile * static_cast<double>(sorted.size() - 1) + 0.5)] / 1e3;
}

int report(const Options& options, Outcome& outcome, std::uint64_t cpu_nanoseconds) {
  std::sort(outcome.round_trips.begin(), outcome.round_trips.end());
  const double requests = static_cast<double>(options.requests);
  std::printf(
      "{\"connections\":%llu,\"requests\":%llu,\"done\":%llu,\"errors\":%llu,\"seconds\":%.4f,\"requests_per_second\":%"
      ".0f,"
      "\"server_cpu_us_per_request\":%.4f,\"round_trip_us\":{\"median\":%.2f,\"p99\":%.2f},"
      "\"token_frames_per_request\":%.3f,\"reply_bytes_per_request\":%.2f,\"request_bytes\":%zu}\n",
      static_cast<unsigned long long>(options.connections), static_cast<unsigned long long>(options.requests),
      static_cast<unsigned long long>(outcome.done), static_cast<unsigned long long>(outcome.errors), outcome.seconds,
      requests / outcome.seconds, static_cast<double>(cpu_nanoseconds) / 1e3 / requests,
      microseconds_at(outcome.round_trips, 0.5), microseconds_at(outcome.round_trips, 0.99),
      static_cast<double>(outcome.tokens) / requests, static_cast<double>(outcome.bytes) / requests, kRequest.size());
  for (const auto& [cause, count] : outcome.causes)
    std::fprintf(stderr, "wire_load: %llu x %s\n", static_cast<unsigned long long>(count), cause.c_str());
  return outcome.done == options.requests ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  clockid_t server_clock{};
  if (const int error = ::clock_getcpuclockid(static_cast<pid_t>(options.pid), &server_clock); error != 0) {
    errno = error;
    fail("the CPU clock of process " + std::to_string(options.pid));
  }
  Crowd load(options);
  if (options.warmup > 0) {
    Outcome warmup = load.run(options.warmup);
    if (warmup.errors > 0) return report(options, warmup, 0);
    ::nanosleep(&kSettle, nullptr);
  }
  const std::uint64_t before = nanoseconds(server_clock);
  Outcome outcome = load.run(options.requests);
  ::nanosleep(&kSettle, nullptr);
  return report(options, outcome, nanoseconds(server_clock) - before);
}
