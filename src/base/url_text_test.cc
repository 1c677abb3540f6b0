#include "base/url_text.h"

#include <gtest/gtest.h>

#include <string>

namespace inferd {
namespace {

void expect_parts(std::string_view url, std::string_view before, std::string_view user, std::string_view rest, std::string_view query) {
  const UrlText parts = split_url(url);
  EXPECT_EQ(parts.before, before) << url;
  EXPECT_EQ(parts.user, user) << url;
  EXPECT_EQ(parts.rest, rest) << url;
  EXPECT_EQ(parts.query, query) << url;
}

TEST(UrlText, PartsThatMayBeShownAndThoseThatMayNot) {
  expect_parts("https://h/a.gguf", "https://", "", "h/a.gguf", "");
  expect_parts("https://u:p@h:1/a?sig=1#x", "https://", "u:p@", "h:1/a", "?sig=1#x");
  expect_parts("https://u:p@h", "https://", "u:p@", "h", "");
  expect_parts("https://h/a@b", "https://", "", "h/a@b", "");
  expect_parts("https:/u:p@h/a", "", "https:/u:p@", "h/a", "");
  expect_parts("https://h?u=a@b", "https://", "", "h", "?u=a@b");
  expect_parts("", "", "", "", "");
}

}  // namespace
}  // namespace inferd
