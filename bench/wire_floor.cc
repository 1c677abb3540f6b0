// The floor under v1 on the mock backend: what the kernel alone costs for one request. A bare level-triggered epoll
// loop, one thread, non-blocking: for each line that arrives it sends, in one send, the two frames that the mock
// backend gives for id "b". It parses nothing, admits nothing, logs nothing. wire_bench.py starts it beside the daemon
// and gives both the same load.
//
//   wire_floor SOCKET_PATH        serves until it is killed

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view kAnswer =
    R"({"type":"token","id":"b","content":"mock-response"})"
    "\n"
    R"({"type":"done","id":"b","content":"mock-response","usage":{"prompt_tokens":0,"completion_tokens":1,)"
    R"("cached_prompt_tokens":0},"stop_reason":"end","backend":"mock","route":"mock"})"
    "\n";

constexpr int kBacklog = 4096;
constexpr int kEventsPerWait = 256;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "wire_floor: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int listen_on(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    fail(path);
  }
  std::strcpy(address.sun_path, path);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail(path);
  if (::listen(fd, kBacklog) != 0) fail("listen");
  return fd;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

class Floor {
 public:
  explicit Floor(const char* path) : listener_(listen_on(path)), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0) fail("epoll_create1");
    watch(EPOLL_CTL_ADD, listener_, EPOLLIN);
  }

  [[noreturn]] void serve() {
    std::array<epoll_event, kEventsPerWait> events{};
    for (;;) {
      const int n = ::epoll_wait(epoll_, events.data(), kEventsPerWait, -1);
      if (n < 0 && errno != EINTR) fail("epoll_wait");
      for (int i = 0; i < n; ++i) {
        const int fd = events[i].data.fd;
        if (fd == listener_) {
          accept_one();
        } else if (!unsent_[fd].empty()) {
          resume_sending(fd);
        } else {
          answer_lines(fd);
        }
      }
    }
  }

 private:
  void watch(int operation, int fd, std::uint32_t interest) {
    epoll_event event{};
    event.events = interest;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_, operation, fd, &event) != 0) fail("epoll_ctl");
  }

  void accept_one() {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
      fail("accept4");
    }
    if (static_cast<std::size_t>(fd) >= unsent_.size()) unsent_.resize(fd + 1);
    unsent_[fd].clear();
    watch(EPOLL_CTL_ADD, fd, EPOLLIN);
  }

  void answer_lines(int fd) {
    const ssize_t got = ::recv(fd, input_.data(), input_.size(), 0);
    if (got <= 0) {
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
      ::close(fd);
      return;
    }
    const char* at = input_.data();
    const char* const end = at + got;
    while ((at = static_cast<const char*>(std::memchr(at, '\n', end - at))) != nullptr) {
      ++at;
      if (!unsent_[fd].empty()) {
        unsent_[fd].append(kAnswer);
      } else if (!send_or_keep(fd, kAnswer)) {
        return;
      }
    }
  }

  // False: the peer is gone and fd is closed.
  bool send_or_keep(int fd, std::string_view bytes) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(bytes.size())) return true;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      ::close(fd);
      unsent_[fd].clear();
      return false;
    }
    unsent_[fd].assign(bytes.substr(sent < 0 ? 0 : sent));
    watch(EPOLL_CTL_MOD, fd, EPOLLOUT);  // reads nothing more until the peer has taken its answers
    return true;
  }

  void resume_sending(int fd) {
    const std::string rest = std::move(unsent_[fd]);
    unsent_[fd].clear();
    if (send_or_keep(fd, rest) && unsent_[fd].empty()) watch(EPOLL_CTL_MOD, fd, EPOLLIN);
  }

  int listener_;
  int epoll_;
  std::vector<std::string> unsent_;  // by descriptor; empty but for a peer that does not read
  std::array<char, 65536> input_{};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: wire_floor SOCKET_PATH\n");
    return 2;
  }
  raise_descriptor_limit();
  static Floor floor(argv[1]);
  floor.serve();
}
