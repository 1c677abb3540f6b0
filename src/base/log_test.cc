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

TEST(LogFilter, WhatIsNotUnderstoodIsNotValid) {
  for (const char* text : {"", " ", "warn", "WARN", "0", "5", "warn, engine=debug", "inferd_daemon::activity=off,3"}) {
    EXPECT_TRUE(Filter::is_valid(text)) << text;
  }
  for (const char* text : {"loud", "6", "warn,", ",", "warn,engine", "engine=loud", "=debug", "===", "warn;debug", "a::=info"}) {
    EXPECT_FALSE(Filter::is_valid(text)) << text;
  }
}

// One directive with a typing error must not cost the others.
TEST(LogFilter, ParsingSkipsWhatIsNotUnderstood) {
  const Filter filter = Filter::parse("loud,warn,engine=debug,=trace,x=");
  EXPECT_FALSE(filter.enabled(Level::kInfo, "any"));
  EXPECT_TRUE(filter.enabled(Level::kDebug, "engine"));
  EXPECT_EQ(filter.most_verbose(), Level::kDebug);
}

}  // namespace
}  // namespace inferd::log
