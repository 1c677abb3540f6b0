#include "os/packet_socket.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "os/os_error.h"

namespace inferd::os {
namespace {

constexpr size_t kMaxDescriptors = 4;
constexpr int kSocketBuffer = 4 << 20;
constexpr char kInline = 0, kInMemfd = 1;

Result<UniqueFd> sealed_memfd(std::string_view bytes) {
  UniqueFd fd(::memfd_create("inferd-message", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return os_fail(errno, "memfd_create");
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::write(fd.get(), bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return os_fail(errno, "write to a memfd");
    at += static_cast<size_t>(n);
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) return os_fail(errno, "seal a memfd");
  return fd;
}

Result<std::string> read_memfd(int fd) {
  const off_t size = ::lseek(fd, 0, SEEK_END);  // not fstat(): glibc makes it a call with a path, which the sandbox refuses
  if (size < 0) return os_fail(errno, "size of a memfd");
  const int wanted = F_SEAL_SHRINK | F_SEAL_WRITE;
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & wanted) != wanted) return fail(Code::kInternal, "a message came in an unsealed descriptor");
  std::string bytes(static_cast<size_t>(size), '\0');
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::pread(fd, bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return os_fail(errno, "read a memfd");
    at += static_cast<size_t>(n);
  }
  return bytes;
}

}  // namespace

Result<std::pair<UniqueFd, UniqueFd>> packet_socket_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) return os_fail(errno, "socketpair");
  for (const int fd : fds) {
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSocketBuffer, sizeof kSocketBuffer);  // as much as the system allows
  }
  return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Result<PacketState> send_packet(int socket, std::string_view bytes, std::span<const int> descriptors) {
  UniqueFd memfd;
  char kind = kInline;
  std::vector<int> fds;
  if (bytes.size() > kMaxInlinePacket) {
    auto made = sealed_memfd(bytes);
    if (!made) return std::unexpected(made.error());
    memfd = std::move(*made);
    fds.push_back(memfd.get());
    bytes = {};
    kind = kInMemfd;
  }
  fds.insert(fds.end(), descriptors.begin(), descriptors.end());
  iovec parts[2] = {{.iov_base = &kind, .iov_len = 1}, {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return PacketState::kDone;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return PacketState::kWouldBlock;
    if (errno == EPIPE || errno == ECONNRESET) return PacketState::kClosed;
    return os_fail(errno, "send a message");
  }
}

Result<PacketState> receive_packet(int socket, Packet& into) {
  into.bytes.resize(kMaxInlinePacket);
  into.descriptors.clear();
  char kind = kInline;
  iovec parts[2] = {{.iov_base = &kind, .iov_len = 1}, {.iov_base = into.bytes.data(), .iov_len = into.bytes.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return PacketState::kWouldBlock;
  if (n == 0 || (n < 0 && errno == ECONNRESET)) return PacketState::kClosed;
  if (n < 0) return os_fail(errno, "receive a message");
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      into.descriptors.emplace_back(fd);
    }
  }
  into.bytes.resize(static_cast<size_t>(n) - 1);
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return fail(Code::kInternal, "a message was cut off");
  if (kind != kInMemfd) return PacketState::kDone;
  if (into.descriptors.empty()) return fail(Code::kInternal, "a message's descriptor is missing");
  auto bytes = read_memfd(into.descriptors.front().get());
  if (!bytes) return std::unexpected(bytes.error());
  into.bytes = std::move(*bytes);
  into.descriptors.erase(into.descriptors.begin());
  return PacketState::kDone;
}

}  // namespace inferd::os
