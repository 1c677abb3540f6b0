#include "config/access_ids.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

constexpr const char* kPlace = "c.json: access.v1";

void refuses(const AccessRule& rule, const std::string& message) {
  const auto ids = resolve_access(rule, kPlace);
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, Code::kUsage);
  EXPECT_TRUE(ids.error().message.starts_with(message)) << ids.error().message;
}

TEST(AccessIds, NamesAndDecimalIdsInTheirOrder) {
  const auto ids = resolve_access({.users = {"1001", "root", "4294967294"}, .groups = {"root", "7"}}, kPlace);
  ASSERT_TRUE(ids) << ids.error().message;
  EXPECT_EQ(ids->users, (std::vector<int64_t>{1001, 0, 4'294'967'294}));
  EXPECT_EQ(ids->groups, (std::vector<int64_t>{0, 7}));
}

TEST(AccessIds, AnEmptyRuleIsNobody) {
  const auto ids = resolve_access({}, kPlace);
  ASSERT_TRUE(ids);
  EXPECT_TRUE(ids->users.empty());
  EXPECT_TRUE(ids->groups.empty());
}

TEST(AccessIds, WhatNobodyIsCalledIsAnErrorThatNamesItsPlace) {
  refuses({.users = {"root", "no-such-user"}, .groups = {}}, "c.json: access.v1.users[1]: no user \"no-such-user\"");
  refuses({.users = {}, .groups = {"no-such-group"}}, "c.json: access.v1.groups[0]: no group \"no-such-group\"");
  for (const char* number : {"-1", "4294967295", "99999999999", "1.5", " 1"}) {
    refuses({.users = {number}, .groups = {}}, "c.json: access.v1.users[0]: no user");
  }
}

}  // namespace
}  // namespace inferd
