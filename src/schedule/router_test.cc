#include "schedule/router.h"

#include <gtest/gtest.h>

#include "backend/mock/mock_backend.h"

namespace inferd {
namespace {

class RouterTest : public ::testing::Test {
 protected:
  os::asio::io_context io_;
  MockBackend first_{io_, {.name = "first"}}, second_{io_, {.name = "second"}};
  Router router_;
  Breaker::Time now_{};
};

TEST_F(RouterTest, NoEntriesMeansNone) { EXPECT_EQ(router_.pick(Need::kText, now_), nullptr); }

TEST_F(RouterTest, TakesTheFirstReadyOneInOrderAndComesBackToIt) {
  router_.add(&first_);
  router_.add(&second_);
  EXPECT_EQ(router_.pick(Need::kText, now_)->backend, &first_);
  first_.set_ready(false);
  EXPECT_EQ(router_.pick(Need::kText, now_)->backend, &second_);
  second_.set_ready(false);
  EXPECT_EQ(router_.pick(Need::kText, now_), nullptr);
  first_.set_ready(true);
  EXPECT_EQ(router_.pick(Need::kText, now_)->backend, &first_);
}

TEST_F(RouterTest, TwoEntriesOfOneKindHaveBreakersOfTheirOwn) {
  router_.add(&first_);
  router_.add(&second_);
  for (int i = 0; i < 3; ++i) router_.entries()[0].breaker.failed(now_);
  EXPECT_EQ(router_.pick(Need::kText, now_)->backend, &second_);
  EXPECT_EQ(router_.pick(Need::kText, now_, 1)->backend, &second_);
}

}  // namespace
}  // namespace inferd
