#include "base/log.h"

#include <gtest/gtest.h>

namespace inferd::log {
namespace {

TEST(LogFilter, UnsetOrNotUnderstoodIsInfo) {
  for (const char* text : {static_cast<const char*>(nullptr), "loud", "x=loud"}) {
    const Filter filter = Filter::parse(text);
    EXPECT_TRUE(filter.enabled(Level::kInfo, "any"));
    EXPECT_FALSE(filter.enabled(Level::kDebug, "any"));
  }
}

TEST(LogFilter, EmptyIsErrorsOnlyAndOffIsNothing) {
  EXPECT_TRUE(Filter::parse("").enabled(Level::kError, "any"));
  EXPECT_FALSE(Filter::parse("").enabled(Level::kWarn, "any"));
  EXPECT_FALSE(Filter::parse("off").enabled(Level::kError, "any"));
  EXPECT_FALSE(Filter::parse("0").enabled(Level::kError, "any"));
}

TEST(LogFilter, TakesNumbersAndPairs) {
  EXPECT_TRUE(Filter::parse("4").enabled(Level::kDebug, "any"));
  const Filter filter = Filter::parse("warn,engine=debug,inferd_daemon::activity=off");
  EXPECT_TRUE(filter.enabled(Level::kDebug, "engine"));
  EXPECT_FALSE(filter.enabled(Level::kInfo, "admin"));
  EXPECT_FALSE(filter.enabled(Level::kError, "activity"));
  EXPECT_EQ(filter.most_verbose(), Level::kDebug);
}

}  // namespace
}  // namespace inferd::log
