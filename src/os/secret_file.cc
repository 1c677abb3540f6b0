#include "os/secret_file.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "os/input_file.h"
#include "os/os_error.h"
#include "os/paths.h"

namespace inferd::os {
namespace {

namespace fs = std::filesystem;

// Larger than any key by one byte, to see that a file is; wiped when it goes.
struct Buffer {
  std::array<char, kMaxSecretBytes + 1> bytes;
  size_t size = 0;
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { ::explicit_bzero(bytes.data(), bytes.size()); }
  std::string_view text() const { return {bytes.data(), size}; }
};

bool is_systemd_credential(const fs::path& path) {
  const auto folder = env("CREDENTIALS_DIRECTORY");
  return folder && path.lexically_normal().parent_path() == fs::path(*folder).lexically_normal();
}

Status check_rights(int fd, const fs::path& path) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return os_fail(errno, path.string());
  if (info.st_uid != ::geteuid() && info.st_uid != 0) {
    return fail(Code::kNotPermitted, path.string() + ": belongs to uid " + std::to_string(info.st_uid) +
                                         ": a key file has to be the daemon's own or root's");
  }
  const mode_t forbidden = is_systemd_credential(path) && info.st_uid == 0 ? 0037 : 0077;
  if ((info.st_mode & forbidden) == 0) return {};
  return fail(Code::kNotPermitted,
              path.string() + ": its mode " + mode_text(info.st_mode) + " gives others a right to the key (chmod 600 " + path.string() + ")");
}

Status read_all(int fd, const fs::path& path, Buffer& buffer) {
  while (buffer.size < buffer.bytes.size()) {
    const ssize_t got = ::read(fd, buffer.bytes.data() + buffer.size, buffer.bytes.size() - buffer.size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return os_fail(errno, path.string());
    if (got == 0) return {};
    buffer.size += static_cast<size_t>(got);
  }
  return fail(Code::kUsage, path.string() + ": larger than " + std::to_string(kMaxSecretBytes) + " bytes: no key file");
}

}  // namespace

Result<std::string> read_secret_file(const fs::path& path) {
  auto fd = open_regular_file(path);
  if (!fd) return fail(fd.error().code, "key file " + fd.error().message);
  if (auto checked = check_rights(fd->get(), path); !checked) return fail(checked.error().code, "key file " + checked.error().message);
  Buffer buffer;
  if (auto read = read_all(fd->get(), path, buffer); !read) return fail(read.error().code, "key file " + read.error().message);
  std::string_view key = buffer.text();
  if (key.ends_with('\n')) key.remove_suffix(1);
  if (key.ends_with('\r')) key.remove_suffix(1);
  if (key.empty()) return fail(Code::kUsage, "key file " + path.string() + ": empty");
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7F; };
  if (std::ranges::any_of(key, is_control)) {
    return fail(Code::kUsage, "key file " + path.string() + ": more than one line, or a control character: expected the key alone");
  }
  return std::string(key);
}

}  // namespace inferd::os
