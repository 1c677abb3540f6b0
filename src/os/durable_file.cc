#include "os/durable_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <vector>

#include "os/input_file.h"
#include "os/os_error.h"
#include "os/own_file.h"
#include "os/unique_fd.h"

namespace inferd::os {
namespace {

namespace fs = std::filesystem;
constexpr size_t kCopyBytes = 16u << 20;  // between two questions whether to go on

class RealFile : public DurableFile {
 public:
  RealFile(UniqueFd fd, fs::path path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Status write_at(uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_fail(errno, "write " + path_.string());
      offset += static_cast<uint64_t>(n);
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return {};
  }

  Status resize(uint64_t bytes) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) return os_fail(errno, "resize " + path_.string());
    return {};
  }

  Status sync() override {
    if (::fsync(fd_.get()) != 0) return os_fail(errno, "sync " + path_.string());
    return {};
  }

  int fd() const override { return fd_.get(); }

 private:
  UniqueFd fd_;
  fs::path path_;
};

Status copy_bytes(int from, int to, const fs::path& path, const std::function<bool(uint64_t)>& go_on) {
  off_t at = 0;
  for (;;) {
    if (!go_on(static_cast<uint64_t>(at))) return fail(Code::kBackendUnavailable, "copying to " + path.string() + " was stopped");
    const ssize_t n = ::sendfile(to, from, &at, kCopyBytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_fail(errno, "copy to " + path.string());
    if (n == 0) return {};
  }
}

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// The files of an open folder; kNotPermitted if there is anything else in it.
Result<std::vector<std::string>> files_in(DIR* folder, const fs::path& path) {
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(folder);
    if (entry == nullptr && errno != 0) return os_fail(errno, "folder " + path.string());
    if (entry == nullptr) return names;
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat info{};
    if (::fstatat(::dirfd(folder), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      return os_fail(errno, (path / name).string());
    }
    if (!S_ISREG(info.st_mode)) return fail(Code::kNotPermitted, (path / name).string() + " is not a regular file: left alone");
    names.push_back(name);
  }
}

class RealFileSystem : public FileSystem {
 public:
  Result<std::unique_ptr<DurableFile>> open(const fs::path& path, Open how) override {
    auto fd = open_own_file(path, how == Open::kEmpty ? O_TRUNC : 0, path.string());
    if (!fd) return std::unexpected(fd.error());
    return std::make_unique<RealFile>(std::move(*fd), path);
  }

  Status make_folder(const fs::path& path) override {
    if (::mkdir(path.c_str(), 0700) == 0) return {};
    const int why = errno;
    struct stat info{};
    if (why != EEXIST || ::lstat(path.c_str(), &info) != 0) return os_fail(why, "make folder " + path.string());
    if (S_ISLNK(info.st_mode) && info.st_uid != 0 && info.st_uid != ::geteuid()) {
      return fail(Code::kNotPermitted, path.string() + " is a symbolic link of another user: refused");
    }
    if (S_ISDIR(info.st_mode) || (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode))) return {};
    return os_fail(why, "make folder " + path.string());
  }

  Status rename(const fs::path& from, const fs::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return os_fail(errno, "rename " + from.string() + " to " + to.string());
    return {};
  }

  Status rename_to_new(const fs::path& from, const fs::path& to) override {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
    // Some file systems (NFS) know no RENAME_NOREPLACE; a second name refuses to replace everywhere.
    if (errno == EINVAL && ::link(from.c_str(), to.c_str()) == 0) return remove(from);
    if (errno == EEXIST) return fail(Code::kInUse, to.string() + " is there already");
    return os_fail(errno, "rename " + from.string() + " to " + to.string());
  }

  Status remove(const fs::path& path) override {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return os_fail(errno, "remove " + path.string());
    return {};
  }

  Status remove_files_in(const fs::path& path) override {
    // By descriptor: what is removed stands in the folder that was looked at, whoever moves names meanwhile.
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd && errno == ENOENT) return {};
    if (!fd && (errno == ELOOP || errno == ENOTDIR)) {
      return fail(Code::kNotPermitted, path.string() + " is no folder (or a link to one): left alone");
    }
    if (!fd) return os_fail(errno, "folder " + path.string());
    const std::unique_ptr<DIR, CloseFolder> folder(::fdopendir(fd.get()));
    if (!folder) return os_fail(errno, "folder " + path.string());
    const int at = fd.release();  // the folder's now
    const auto names = files_in(folder.get(), path);
    if (!names) return std::unexpected(names.error());
    for (const std::string& name : *names) {
      if (::unlinkat(at, name.c_str(), 0) != 0 && errno != ENOENT) return os_fail(errno, "remove " + (path / name).string());
    }
    return {};
  }

  Status remove_empty_folder(const fs::path& path) override {
    if (::rmdir(path.c_str()) != 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST) {
      return os_fail(errno, "remove folder " + path.string());
    }
    return {};
  }

  Status sync_file(const fs::path& path) override {
    auto fd = open_regular_file(path);
    if (!fd) return std::unexpected(fd.error());
    if (::fsync(fd->get()) != 0) return os_fail(errno, "sync " + path.string());
    return {};
  }

  Status sync_folder(const fs::path& path) override {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return os_fail(errno, "folder " + path.string());
    // EINVAL: a file system whose folders cannot be synced, because they always are or never.
    if (::fsync(fd.get()) != 0 && errno != EINVAL) return os_fail(errno, "sync folder " + path.string());
    return {};
  }

  Result<CopyKind> copy(int from, const fs::path& to, const std::function<bool(uint64_t)>& go_on) override {
    auto fd = open_own_file(to, O_EXCL, to.string());
    if (!fd) return std::unexpected(fd.error());
    if (::ioctl(fd->get(), FICLONE, from) == 0) return CopyKind::kReflink;
    if (auto gone = remove(to); !gone) return std::unexpected(gone.error());
    // By descriptor, so that the linked file is the one that was opened. Refused for files that we could not write (protected_hardlinks).
    const std::string name = "/proc/self/fd/" + std::to_string(from);
    if (::linkat(AT_FDCWD, name.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) == 0) return CopyKind::kHardLink;
    fd = open_own_file(to, O_EXCL, to.string());
    if (!fd) return std::unexpected(fd.error());
    if (auto copied = copy_bytes(from, fd->get(), to, go_on); !copied) return std::unexpected(copied.error());
    return CopyKind::kCopy;
  }
};

}  // namespace

FileSystem& file_system() {
  static RealFileSystem real;
  return real;
}

Status make_durable_folders(FileSystem& files, const fs::path& base, const fs::path& below) {
  fs::path at = base;
  for (const fs::path& part : below) {
    const fs::path parent = at;
    at /= part;
    if (auto made = files.make_folder(at); !made) return made;
    if (auto synced = files.sync_folder(parent); !synced) return synced;
  }
  return {};
}

Status write_synced_file(FileSystem& files, const fs::path& path, std::string_view content) {
  auto file = files.open(path, FileSystem::Open::kEmpty);
  if (!file) return std::unexpected(file.error());
  if (auto written = (*file)->write_at(0, content); !written) return written;
  return (*file)->sync();
}

Status replace_file(FileSystem& files, const fs::path& path, std::string_view content) {
  fs::path next = path;
  next += ".tmp";
  if (auto written = write_synced_file(files, next, content); !written) return written;
  if (auto renamed = files.rename(next, path); !renamed) return renamed;
  return files.sync_folder(path.parent_path());
}

}  // namespace inferd::os
