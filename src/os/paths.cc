#include "os/paths.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "os/os_error.h"

namespace inferd::os {
namespace fs = std::filesystem;
namespace {

constexpr const char* kServiceRuntimeDirectory = "/run/inferd";  // packaging/inferd.service

bool only_root_writes_to(const fs::path& folder) {
  struct stat info{};
  return ::lstat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == 0 && (info.st_mode & 0022) == 0;
}

}  // namespace

std::optional<std::string> env(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

std::vector<fs::path> runtime_directories_to_try() {
  std::vector<fs::path> list;
  if (const auto xdg = env("XDG_RUNTIME_DIR")) list.push_back(fs::path(*xdg) / "inferd");
  if (const auto home = env("HOME")) list.push_back(fs::path(*home) / ".inferd" / "run");
  list.push_back("/tmp/inferd-" + std::to_string(::getuid()));
  list.push_back(kServiceRuntimeDirectory);
  return list;
}

fs::path runtime_directory() { return runtime_directories_to_try().front(); }

bool is_trusted_directory(const fs::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return false;
  if (info.st_uid == ::geteuid() || info.st_uid == 0) return true;
  return path == kServiceRuntimeDirectory && only_root_writes_to(path.parent_path());
}

fs::path beside_or_lib(const std::string& name) {
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  const fs::path installed = folder.parent_path() / "lib" / "inferd" / name;
  return !fs::exists(folder / name, error) && fs::exists(installed, error) ? installed : folder / name;
}

fs::path default_config_file() { return fs::path(env("HOME").value_or(".")) / ".inferd" / "config.json"; }

fs::path default_log_directory() {
  if (const auto dir = env("INFERD_LOG_DIR")) return *dir;
  return fs::path(env("HOME").value_or(".")) / ".inferd" / "logs";
}

Status make_private_directories(const fs::path& path) {
  if (path.empty()) return {};
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return {};
    return fail(Code::kUsage, path.string() + " is not a folder");
  }
  if (errno != ENOENT) return os_fail(errno, "folder " + path.string());
  if (path.has_parent_path() && path.parent_path() != path) {
    if (auto made = make_private_directories(path.parent_path()); !made) return made;
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return os_fail(errno, "make folder " + path.string());
  return {};
}

Status prepare_runtime_directory(const fs::path& path, std::optional<gid_t> group) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) return os_fail(errno, "runtime folder " + path.string());
    if (auto made = make_private_directories(path); !made) return made;
    if (group && (::chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0 || ::chmod(path.c_str(), 0750) != 0)) {
      return os_fail(errno, "give runtime folder " + path.string() + " to the group");
    }
    if (::lstat(path.c_str(), &info) != 0) return os_fail(errno, "runtime folder " + path.string());
  }
  if (!S_ISDIR(info.st_mode)) return fail(Code::kNotPermitted, "runtime folder " + path.string() + " is not a real folder: refused");
  if (info.st_uid != ::geteuid()) {
    return fail(Code::kNotPermitted, "runtime folder " + path.string() + " belongs to uid " + std::to_string(info.st_uid) + ": refused");
  }
  if ((info.st_mode & 0022) != 0) {
    return fail(Code::kNotPermitted, "runtime folder " + path.string() + " can be written by others: refused (chmod go-w " + path.string() + ")");
  }
  return {};
}

Status check_group_can_reach(const fs::path& socket, gid_t group, const std::string& group_name) {
  for (fs::path at = fs::absolute(socket).parent_path(); !at.empty(); at = at.parent_path()) {
    struct stat info{};
    if (::stat(at.c_str(), &info) != 0) return os_fail(errno, "folder " + at.string());
    const bool enters = (info.st_gid == group && (info.st_mode & 0010) != 0) || (info.st_mode & 0001) != 0;
    if (!enters) {
      return fail(Code::kNotPermitted, "group " + group_name + " cannot enter folder " + at.string() + ", so it cannot reach socket " +
                                           socket.string() + " (chgrp " + group_name + " and chmod g+x that folder, or choose another path)");
    }
    if (at == at.root_path()) break;
  }
  return {};
}

}  // namespace inferd::os
