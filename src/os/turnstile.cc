#include "os/turnstile.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "os/os_error.h"

namespace inferd::os {

// Who waits for `turn` holds `next`, so whoever has just left cannot come in before it.
struct Turnstile::Page {
  pthread_mutex_t next, turn;
};

namespace {

constexpr time_t kLongestWaitSeconds = 1;

int initialise(pthread_mutex_t& mutex) {
  pthread_mutexattr_t attributes;
  if (const int code = ::pthread_mutexattr_init(&attributes)) return code;
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int code = ::pthread_mutex_init(&mutex, &attributes);
  ::pthread_mutexattr_destroy(&attributes);
  return code;
}

bool lock(pthread_mutex_t& mutex, const timespec& until) {
  const int code = ::pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &until);
  if (code == EOWNERDEAD) ::pthread_mutex_consistent(&mutex);
  return code == 0 || code == EOWNERDEAD;
}

}  // namespace

Result<UniqueFd> Turnstile::make() {
  UniqueFd fd(::memfd_create("inferd-turnstile", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd.get() < 0 || ::ftruncate(fd.get(), sizeof(Page)) != 0) return os_fail(errno, "shared memory for the turns of engines");
  void* const memory = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return os_fail(errno, "shared memory for the turns of engines");
  auto* const page = static_cast<Page*>(memory);
  int code = initialise(page->next);
  if (code == 0) code = initialise(page->turn);
  ::munmap(memory, sizeof(Page));
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {  // a page that is cut off would end whoever touches it
    return os_fail(errno, "shared memory for the turns of engines");
  }
  if (code != 0) return os_fail(code, "a lock for the turns of engines");
  return fd;
}

Result<std::unique_ptr<Turnstile>> Turnstile::join(int fd) {
  void* const memory = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return os_fail(errno, "shared memory for the turns of engines");
  return std::unique_ptr<Turnstile>(new Turnstile(static_cast<Page*>(memory)));
}

Turnstile::~Turnstile() {
  if (has_turn_) leave();
  ::munmap(page_, sizeof(Page));
}

void Turnstile::enter() {
  timespec until{};
  ::clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += kLongestWaitSeconds;
  if (!lock(page_->next, until)) return;
  has_turn_ = lock(page_->turn, until);
  ::pthread_mutex_unlock(&page_->next);
}

void Turnstile::leave() {
  if (!has_turn_) return;
  has_turn_ = false;
  ::pthread_mutex_unlock(&page_->turn);
}

}  // namespace inferd::os
