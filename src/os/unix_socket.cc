#include "os/unix_socket.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "os/os_error.h"
#include "os/paths.h"

namespace inferd::os {
namespace {

Result<sockaddr_un> unix_address(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path.string();
  if (text.empty()) return fail(Code::kUsage, "socket path is empty");
  if (text.size() >= sizeof address.sun_path) {
    return fail(Code::kUsage, "socket path " + text + ": " + std::to_string(text.size()) + " bytes long, at most " +
                                  std::to_string(sizeof address.sun_path - 1) + " are possible");
  }
  std::memcpy(address.sun_path, text.data(), text.size());
  return address;
}

Result<UniqueFd> new_socket(int flags) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!fd) return os_fail(errno, "socket");
  return fd;
}

// Makes the path free for bind(), or says why it must not be.
Status clear_stale(const std::filesystem::path& path, const sockaddr_un& address) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return os_fail(errno, "socket path " + path.string());
  }
  if (S_ISLNK(info.st_mode)) return fail(Code::kNotPermitted, "socket path " + path.string() + " is a symbolic link: refused");
  if (!S_ISSOCK(info.st_mode)) {
    return fail(Code::kInUse, "socket path " + path.string() + " exists and is no socket: it is not removed, choose another path");
  }
  auto probe = new_socket(SOCK_NONBLOCK);
  if (!probe) return std::unexpected(probe.error());
  if (::connect(probe->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN) {
    return fail(Code::kInUse, "socket path " + path.string() + " is served by a live process: not taken over");
  }
  if (errno != ECONNREFUSED) return os_fail(errno, "socket path " + path.string());
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return os_fail(errno, "remove the stale socket " + path.string());
  return {};
}

}  // namespace

Result<UniqueFd> listen_unix(const std::filesystem::path& path, const UnixListenOptions& options) {
  auto address = unix_address(path);
  if (!address) return std::unexpected(address.error());
  if (auto made = make_private_directories(path.parent_path()); !made) return std::unexpected(made.error());
  if (auto clear = clear_stale(path, *address); !clear) return std::unexpected(clear.error());
  auto fd = new_socket(SOCK_NONBLOCK);
  if (!fd) return fd;
  // Nobody may connect between bind and chmod: bound under umask 0177 and not listening yet.
  const mode_t before = ::umask(0177);
  const int bound = ::bind(fd->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
  const int bind_errno = errno;
  ::umask(before);
  if (bound != 0) return os_fail(bind_errno, "bind socket " + path.string());
  if (options.group && ::chown(path.c_str(), static_cast<uid_t>(-1), *options.group) != 0) {
    return os_fail(errno, "give socket " + path.string() + " to the group");
  }
  if (::chmod(path.c_str(), options.mode) != 0) return os_fail(errno, "set the mode of socket " + path.string());
  if (::listen(fd->get(), 1024) != 0) return os_fail(errno, "listen on " + path.string());
  return fd;
}

Result<UniqueFd> connect_unix(const std::filesystem::path& path) {
  auto address = unix_address(path);
  if (!address) return std::unexpected(address.error());
  auto fd = new_socket(0);
  if (!fd) return fd;
  while (::connect(fd->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    if (errno != EINTR) return os_fail(errno, "connect to " + path.string());
  }
  return fd;
}

void unlink_if_ours(const std::filesystem::path& path, dev_t device, ino_t inode) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0 && info.st_dev == device && info.st_ino == inode) ::unlink(path.c_str());
}

Result<gid_t> group_id(const std::string& name) {
  std::vector<char> buffer(16 * 1024);
  group entry{}, *found = nullptr;
  const int code = ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (code != 0) return os_fail(code, "group " + name);
  if (found == nullptr) return fail(Code::kUsage, "group " + name + " does not exist (create it with: groupadd " + name + ")");
  return found->gr_gid;
}

}  // namespace inferd::os
