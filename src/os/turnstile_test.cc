#include "os/turnstile.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

namespace inferd::os {
namespace {

std::unique_ptr<Turnstile> joined(const UniqueFd& fd) {
  auto turnstile = Turnstile::join(fd.get());
  EXPECT_TRUE(turnstile);
  return turnstile ? std::move(*turnstile) : nullptr;
}

TEST(Turnstile, EachOfTwoGetsAllItsTurns) {
  const auto fd = Turnstile::make();
  ASSERT_TRUE(fd);
  std::array<int, 2> turns{};
  ASSERT_EQ(::pipe(turns.data()), 0);
  const auto mine = joined(*fd);
  mine->enter();
  const pid_t child = ::fork();
  if (child == 0) {
    const auto its = joined(*fd);
    for (int i = 0; i < 100; ++i) {
      its->enter();
      [[maybe_unused]] const auto told = ::write(turns[1], "c", 1);
      its->leave();
    }
    ::_exit(0);
  }
  mine->leave();
  for (int i = 0; i < 100; ++i) {
    mine->enter();
    [[maybe_unused]] const auto told = ::write(turns[1], "p", 1);
    mine->leave();
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  std::array<char, 200> seen{};
  size_t n = 0;
  while (n < seen.size()) {
    const ssize_t got = ::read(turns[0], seen.data() + n, seen.size() - n);
    ASSERT_GT(got, 0);
    n += static_cast<size_t>(got);
  }
  ::close(turns[0]);
  ::close(turns[1]);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 'c'), 100);
}

TEST(Turnstile, WhoDiesInItsTurnHasGivenItBack) {
  const auto fd = Turnstile::make();
  ASSERT_TRUE(fd);
  const pid_t child = ::fork();
  if (child == 0) {
    Turnstile& its = *joined(*fd).release();
    its.enter();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  const auto mine = joined(*fd), others = joined(*fd);
  mine->enter();
  mine->leave();
  others->enter();
  others->leave();
}

TEST(Turnstile, WhoKeepsItsTurnIsPassedBy) {
  const auto fd = Turnstile::make();
  ASSERT_TRUE(fd);
  const auto keeper = joined(*fd), other = joined(*fd);
  keeper->enter();
  other->enter();  // comes back
  other->leave();
  keeper->leave();
}

}  // namespace
}  // namespace inferd::os
