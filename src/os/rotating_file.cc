#include "os/rotating_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "os/os_error.h"
#include "os/paths.h"

namespace inferd::os {
namespace {

constexpr size_t kTailBytes = 64 * 1024;  // no line of ours is longer
constexpr auto kRotateAgain = std::chrono::minutes(1);
constexpr uint64_t kRotateAgainShare = 16;  // or when the file has grown by this part of the limit

// The bytes of the whole lines at the beginning of `lines` that have room.
size_t whole_lines(std::string_view lines, uint64_t room) {
  if (lines.size() <= room) return lines.size();
  return room == 0 ? 0 : lines.rfind('\n', room - 1) + 1;  // npos + 1 is 0
}

// Others may come from a descriptor that will never work again.
bool is_about_space(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

}  // namespace

std::filesystem::path RotatingFile::generation(int number) const {
  return number == 0 ? options_.path : std::filesystem::path(options_.path.string() + "." + std::to_string(number));
}

Status RotatingFile::open() {
  if (auto made = make_private_directories(options_.path.parent_path()); !made) return made;
  return open_file();
}

// The file that is open now stays open if this fails.
Status RotatingFile::open_file() {
  UniqueFd file(::open(options_.path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) != 0) return os_fail(errno, options_.path.string());
  if (!S_ISREG(info.st_mode)) return fail(Code::kUsage, options_.path.string() + " is not a regular file");
  file_ = std::move(file);
  bytes_ = static_cast<uint64_t>(info.st_size);
  limit_ = options_.rotate_at_bytes;
  cut_part_line();
  return {};
}

// A process that was killed may have left part of a line.
void RotatingFile::cut_part_line() {
  broken_line_ = false;
  std::string tail(std::min<uint64_t>(bytes_, kTailBytes), '\0');
  const ssize_t got = ::pread(file_.get(), tail.data(), tail.size(), static_cast<off_t>(bytes_ - tail.size()));
  if (tail.empty() || got != static_cast<ssize_t>(tail.size()) || tail.back() == '\n') return;
  const size_t end = tail.rfind('\n');
  if (end == std::string::npos) {
    broken_line_ = true;  // who knows what this is
  } else {
    cut_off(tail.size() - (end + 1));
  }
}

// Another process may append to the file too: then its end is not ours to cut.
void RotatingFile::cut_off(size_t bytes) {
  struct stat info{};
  const uint64_t rest = bytes_ - bytes;
  const bool ours = ::fstat(file_.get(), &info) == 0 && static_cast<uint64_t>(info.st_size) == bytes_;
  if (ours && ::ftruncate(file_.get(), static_cast<off_t>(rest)) == 0) {
    bytes_ = rest;
  } else {
    broken_line_ = true;
  }
}

size_t RotatingFile::append(std::string_view lines) {
  const auto now = Clock::now();
  if (auto there = follow_path(now); !there) {
    write_trouble_ = there.error().message;
    return 0;
  }
  if (now >= rotate_again_at_) limit_ = options_.rotate_at_bytes;
  size_t done = 0;
  while (done < lines.size()) {
    const std::string_view rest = lines.substr(done);
    size_t fits = whole_lines(rest, room());
    if (fits == 0 && bytes_ > 0) {
      rotate(now);
      fits = whole_lines(rest, room());
    }
    if (fits == 0) fits = std::min(rest.find('\n'), rest.size() - 1) + 1;  // longer than the limit, or there is no rotating
    const size_t written = write_lines(rest.substr(0, fits));
    done += written;
    if (written < fits) break;
  }
  return done;
}

// Lines belong where they are looked for.
Status RotatingFile::follow_path(Clock::time_point now) {
  if (file_ && now < look_again_at_) return {};
  look_again_at_ = now + options_.look_interval;
  struct stat ours{}, there{};
  if (file_ && ::fstat(file_.get(), &ours) == 0) {
    const bool found = ::lstat(options_.path.c_str(), &there) == 0;
    const bool gone = found ? there.st_ino != ours.st_ino || there.st_dev != ours.st_dev : errno == ENOENT || errno == ENOTDIR;
    if (!gone) return {};
  }
  file_.reset();
  rotate_trouble_.clear();
  rotate_again_at_ = {};
  return open();
}

void RotatingFile::rotate(Clock::time_point now) {
  auto rotated = move_up();
  if (rotated) {
    rotated = open_file();
    if (!rotated) move_down(0);
  }
  if (rotated) {
    ::unlink(generation(options_.generations + 1).c_str());
    rotate_trouble_.clear();
    rotate_again_at_ = {};
  } else {
    rotate_trouble_ = options_.path.string() + " is not rotated: " + rotated.error().message;
    limit_ = bytes_ + std::max<uint64_t>(options_.rotate_at_bytes / kRotateAgainShare, 1);
    rotate_again_at_ = now + kRotateAgain;
  }
}

// Every generation's number grows by one, from the oldest, which gets one too many, to the file itself. All or none.
Status RotatingFile::move_up() {
  for (int number = options_.generations; number >= 0; --number) {
    const auto from = generation(number), to = generation(number + 1);
    if (std::rename(from.c_str(), to.c_str()) == 0 || (errno == ENOENT && number > 0)) continue;
    const int error = errno;
    move_down(number + 1);
    return os_fail(error, "rename " + from.string() + " to " + to.string());
  }
  return {};
}

// Takes move_up() back for the generations from `first`.
void RotatingFile::move_down(int first) {
  for (int number = first; number <= options_.generations; ++number) {
    std::rename(generation(number + 1).c_str(), generation(number).c_str());
  }
}

size_t RotatingFile::write_lines(std::string_view lines) {
  int error = 0;
  if (broken_line_) broken_line_ = put("\n", error) == 0;
  const size_t done = error == 0 ? put(lines, error) : 0;
  if (error == 0) {
    write_trouble_.clear();
    return done;
  }
  write_trouble_ = os_error(error, options_.path.string()).message;
  const size_t whole = done == 0 ? 0 : lines.rfind('\n', done - 1) + 1;  // npos + 1 is 0
  if (whole < done) cut_off(done - whole);
  look_again_at_ = {};
  if (!is_about_space(error)) file_.reset();
  return whole;
}

// How many of the bytes the file took; fewer than all: `error` says why.
size_t RotatingFile::put(std::string_view bytes, int& error) {
  size_t done = 0;
  while (done < bytes.size() && error == 0) {
    const ssize_t n = ::write(file_.get(), bytes.data() + done, bytes.size() - done);
    if (n > 0) {
      done += static_cast<size_t>(n);
    } else if (n == 0 || errno != EINTR) {
      error = n == 0 ? EIO : errno;
    }
  }
  bytes_ += done;
  return done;
}

}  // namespace inferd::os
