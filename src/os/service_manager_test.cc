#include "os/service_manager.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>

namespace inferd::os {
namespace {

namespace fs = std::filesystem;
constexpr int kFirstPassed = 3;  // sd_listen_fds(3)
constexpr int kOutOfTheWay = 100;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

// A socket of our own that reads what the service manager is told.
class Notify : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/service_manager_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    socket_ = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un address = address_of(folder_ / "notify");
    ASSERT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::setenv("NOTIFY_SOCKET", (folder_ / "notify").c_str(), 1);
  }
  void TearDown() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
    fs::remove_all(folder_);
  }
  // The oldest message that was not read yet; empty: none.
  std::string told() const {
    char text[8192];
    const ssize_t size = ::recv(socket_.get(), text, sizeof text, 0);
    return size < 0 ? "" : std::string(text, static_cast<size_t>(size));
  }
  std::string status(std::string_view text) const {
    notify_status(text);
    return told();
  }

  fs::path folder_;
  UniqueFd socket_;
};

TEST_F(Notify, EachStateIsAMessage) {
  notify_ready();
  EXPECT_EQ(told(), "READY=1");
  notify_stopping();
  EXPECT_EQ(told(), "STOPPING=1");
  notify_watchdog();
  EXPECT_EQ(told(), "WATCHDOG=1");
  extend_timeout(std::chrono::seconds(40));
  EXPECT_EQ(told(), "EXTEND_TIMEOUT_USEC=40000000");
  EXPECT_EQ(told(), "");
}

TEST_F(Notify, AReloadSaysWhenItBegan) {
  timespec before{}, after{};
  ::clock_gettime(CLOCK_MONOTONIC, &before);
  notify_reloading();
  ::clock_gettime(CLOCK_MONOTONIC, &after);
  const std::string message = told(), head = "RELOADING=1\nMONOTONIC_USEC=";
  ASSERT_TRUE(message.starts_with(head)) << message;
  const long long at = std::stoll(message.substr(head.size()));
  EXPECT_GE(at, before.tv_sec * 1'000'000LL + before.tv_nsec / 1000);
  EXPECT_LE(at, after.tv_sec * 1'000'000LL + after.tv_nsec / 1000);
}

TEST_F(Notify, AStatusIsOneShortLineOfUtf8) {
  EXPECT_EQ(status("fetching m: 40 %"), "STATUS=fetching m: 40 %");
  EXPECT_EQ(status("m\nMAINPID=1"), "STATUS=m MAINPID=1") << "a name of a model is no command";
  EXPECT_EQ(status("a\xFF"), "STATUS=a\xEF\xBF\xBD");
  EXPECT_LE(status(std::string(100'000, 'x')).size(), 1000u);
}

TEST_F(Notify, WithoutAServiceManagerNobodyIsTold) {
  ::unsetenv("NOTIFY_SOCKET");
  notify_ready();
  EXPECT_EQ(told(), "");
}

TEST_F(Notify, AServiceManagerThatIsGoneIsNoError) {
  fs::remove(folder_ / "notify");
  notify_ready();
  EXPECT_EQ(told(), "");
}

TEST_F(Notify, TheWatchdogIsOfThisProcessOnly) {
  EXPECT_FALSE(watchdog_interval());
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  EXPECT_EQ(watchdog_interval(), std::chrono::seconds(30));
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(watchdog_interval(), std::chrono::seconds(30));
  ::setenv("WATCHDOG_PID", std::to_string(::getppid()).c_str(), 1);
  EXPECT_FALSE(watchdog_interval());
}

// What passed_sockets() gives here, as text.
std::string describe() {
  auto sockets = passed_sockets();
  if (!sockets) return "error: " + sockets.error().message;
  std::string text;
  for (const PassedSocket& socket : *sockets) {
    text += socket.name + " " + (socket.unix_path ? socket.unix_path->string() : "tcp " + socket.tcp_address);
    if ((::fcntl(socket.fd.get(), F_GETFD) & FD_CLOEXEC) == 0) text += " inherited";
    if ((::fcntl(socket.fd.get(), F_GETFL) & O_NONBLOCK) == 0) text += " blocking";
    int on = 0;
    socklen_t size = sizeof on;
    if (!socket.unix_path && (::getsockopt(socket.fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, &size) != 0 || on == 0)) text += " delayed";
    text += "\n";
  }
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
    if (::getenv(name) != nullptr) text += std::string(name) + " is still set\n";
  }
  return text;
}

// Makes the descriptors and the environment of a process that was started with these sockets.
void pass(const std::vector<int>& sockets, const std::string& names, pid_t pid) {
  std::vector<int> moved;
  for (const int socket : sockets) moved.push_back(::fcntl(socket, F_DUPFD_CLOEXEC, kOutOfTheWay));
  for (size_t i = 0; i < moved.size(); ++i) ::dup2(moved[i], kFirstPassed + static_cast<int>(i));
  ::setenv("LISTEN_PID", std::to_string(pid).c_str(), 1);
  ::setenv("LISTEN_FDS", std::to_string(sockets.size()).c_str(), 1);
  if (!names.empty()) ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
}

// What a process sees that was started with these sockets, or with those of its parent.
std::string passed(const std::vector<int>& sockets, const std::string& names, bool to_parent = false) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    const int out = ::fcntl(write_end.get(), F_DUPFD_CLOEXEC, kOutOfTheWay);
    pass(sockets, names, to_parent ? ::getppid() : ::getpid());
    const std::string text = describe();
    ::_exit(::write(out, text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  write_end.reset();
  std::string text;
  char part[1024];
  for (ssize_t got; (got = ::read(read_end.get(), part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(got));
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  return text;
}

class Passed : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/service_manager_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Listening, and as a service manager leaves it: blocking.
  UniqueFd unix_socket(const std::string& name, int type = SOCK_STREAM, mode_t mode = 0600) {
    UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    const sockaddr_un address = address_of(folder_ / name);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::chmod(address.sun_path, mode), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    return fd;
  }
  static UniqueFd tcp_socket(uint16_t* port = nullptr) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    if (port != nullptr) *port = ntohs(address.sin_port);
    return fd;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  static void expect_error(const std::string& text, const std::vector<std::string>& words) {
    EXPECT_TRUE(text.starts_with("error: ")) << text;
    for (const std::string& word : words) EXPECT_NE(text.find(word), std::string::npos) << text;
  }

  fs::path folder_;
};

TEST_F(Passed, WhoMayOpenAFileIsSaidByOwnerAndGroup) {
  const UniqueFd open_to_all = unix_socket("v1.sock", SOCK_STREAM, 0666), open_to_group = unix_socket("a.sock", SOCK_STREAM, 0660);
  expect_error(passed({open_to_all.get()}, "v1"), {"v1.sock", "0666", "SocketMode=0660"});
  expect_error(passed({open_to_group.get()}, "admin"), {"a.sock", "0660", "SocketMode=0600"});
  EXPECT_EQ(passed({open_to_group.get()}, "v1"), "v1 " + path("a.sock") + "\n");
}

TEST_F(Passed, EachHasItsNameAndAddressAndIsReadyForUse) {
  uint16_t port = 0;
  const UniqueFd admin = unix_socket("a.sock"), v1 = tcp_socket(&port), v2 = unix_socket("v2.sock"), embed = unix_socket("e.sock");
  EXPECT_EQ(passed({v1.get(), admin.get(), embed.get(), v2.get()}, "v1:admin:embed:v2"),
            "v1 tcp 127.0.0.1:" + std::to_string(port) + "\nadmin " + path("a.sock") + "\nembed " + path("e.sock") + "\nv2 " +
                path("v2.sock") + "\n");
}

TEST_F(Passed, WithoutThemThereAreNone) {
  const auto sockets = passed_sockets();
  ASSERT_TRUE(sockets);
  EXPECT_TRUE(sockets->empty());
}

TEST_F(Passed, ThoseOfAnotherProcessAreNotOurs) {
  const UniqueFd v1 = unix_socket("v1.sock");
  EXPECT_EQ(passed({v1.get()}, "v1", true), "");
}

TEST_F(Passed, ANameThatIsNotKnownIsRefusedWithThoseThatAre) {
  const UniqueFd socket = unix_socket("x.sock");
  expect_error(passed({socket.get()}, "inferd.socket"), {"\"inferd.socket\"", "admin, v1, v2, embed", "FileDescriptorName="});
  expect_error(passed({socket.get()}, ""), {"\"unknown\""});
}

TEST_F(Passed, TwoOfOneNameAreRefused) {
  const UniqueFd one = unix_socket("1.sock"), other = unix_socket("2.sock");
  expect_error(passed({one.get(), other.get()}, "v1:v1"), {"two sockets named \"v1\""});
}

TEST_F(Passed, AsManyNamesAsSockets) {
  const UniqueFd one = unix_socket("1.sock");
  expect_error(passed({one.get()}, "v1:admin"), {"LISTEN_FDNAMES"});
}

TEST_F(Passed, WhatIsNoListeningStreamSocketIsRefused) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd one(pair[0]), other(pair[1]);
  expect_error(passed({one.get()}, "v1"), {"\"v1\"", "stream socket that listens", "Accept=no"});
  const UniqueFd packets = unix_socket("packets.sock", SOCK_SEQPACKET);
  expect_error(passed({packets.get()}, "v1"), {"\"v1\"", "stream socket that listens"});
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  expect_error(passed({file.get()}, "admin"), {"\"admin\"", "stream socket that listens"});
}

TEST_F(Passed, AnAbstractAddressIsRefused) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of("");  // of no length: the kernel chooses an abstract name
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address.sun_family), 0);
  ASSERT_EQ(::listen(fd.get(), 8), 0);
  expect_error(passed({fd.get()}, "v1"), {"\"v1\"", "abstract", "ListenStream="});
}

TEST_F(Passed, AdminIsNoTcpSocket) {
  uint16_t port = 0;
  const UniqueFd admin = tcp_socket(&port);
  expect_error(passed({admin.get()}, "admin"), {"\"admin\"", "127.0.0.1:" + std::to_string(port), "ListenStream="});
}

TEST_F(Passed, IsTakenOutOfTheListByItsName) {
  std::vector<PassedSocket> sockets;
  for (const char* name : {"admin", "v1"}) {
    sockets.push_back({.fd = unix_socket(name), .name = name, .unix_path = folder_ / name, .tcp_address = {}});
  }
  EXPECT_FALSE(take_passed(sockets, "v2"));
  const auto taken = take_passed(sockets, "admin");
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->unix_path, folder_ / "admin");
  EXPECT_TRUE(taken->fd);
  EXPECT_FALSE(take_passed(sockets, "admin"));
  ASSERT_EQ(sockets.size(), 1u);
  EXPECT_EQ(sockets[0].name, "v1");
}

}  // namespace
}  // namespace inferd::os
