#include "os/secret_memory.h"

#include <gtest/gtest.h>

#include <array>
#include <type_traits>
#include <vector>

namespace inferd::os {
namespace {

static_assert(!std::is_copy_constructible_v<SecretText> && !std::is_copy_assignable_v<SecretText>);
static_assert(std::is_nothrow_move_constructible_v<SecretText> && std::is_nothrow_move_assignable_v<SecretText>);

// Everything that the string's buffer holds, behind its end too.
std::string buffer_of(std::string& text) {
  text.resize(text.capacity());
  return text;
}

TEST(Wipe, LeavesNothingInTheBuffer) {
  for (const size_t size : {3u, 15u, 1000u}) {
    std::string text(size, 'k');
    text.resize(2);  // the rest of the key stands behind the end
    wipe(text);
    EXPECT_TRUE(text.empty());
    EXPECT_EQ(buffer_of(text).find('k'), std::string::npos) << size;
  }
}

TEST(SecretText, TakesTheTextAndWipesWhereItWas) {
  for (const size_t size : {3u, 1000u}) {
    std::string source(size, 'k');
    const SecretText secret(std::move(source));
    EXPECT_EQ(secret.view(), std::string(size, 'k'));
    EXPECT_FALSE(secret.empty());
    EXPECT_EQ(buffer_of(source).find('k'), std::string::npos) << size;
  }
}

TEST(SecretText, MovesAndLeavesNothing) {
  SecretText first(std::string("first")), second(std::string("second"));
  SecretText moved(std::move(first));
  EXPECT_EQ(moved.view(), "first");
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(first.view(), "");
  moved = std::move(second);
  EXPECT_EQ(moved.view(), "second");
  EXPECT_TRUE(second.empty());
  SecretText& itself = moved;
  moved = std::move(itself);
  EXPECT_EQ(moved.view(), "second");
  EXPECT_TRUE(SecretText().empty());
  EXPECT_TRUE(SecretText(std::string{}).empty());
}

std::vector<std::string> hidden(std::vector<std::string> arguments) {
  constexpr std::array<std::string_view, 2> kOptions = {"--api-key", "--token"};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  hide_arguments(static_cast<int>(argv.size()), argv.data(), kOptions);
  return arguments;
}

TEST(HideArguments, BothFormsOfTheNamedOptionsAndNothingElse) {
  EXPECT_EQ(hidden({"--api-key", "--api-key", "secret", "--tcp", "127.0.0.1:1"}),
            (std::vector<std::string>{"--api-key", "--api-key", "xxxxxx", "--tcp", "127.0.0.1:1"}))
      << "the program's own name is no option";
  EXPECT_EQ(hidden({"p", "--api-key=a=b", "--token", "=c", "--api-keys=seen", "--uds", "x"}),
            (std::vector<std::string>{"p", "--api-key=xxx", "--token", "xx", "--api-keys=seen", "--uds", "x"}));
}

TEST(HideArguments, WhereTheValueIsEmptyOrMissing) {
  EXPECT_EQ(hidden({"p", "--api-key=", "--token", ""}), (std::vector<std::string>{"p", "--api-key=", "--token", ""}));
  EXPECT_EQ(hidden({"p", "--token"}), (std::vector<std::string>{"p", "--token"}));
  EXPECT_EQ(hidden({}), (std::vector<std::string>{}));
}

}  // namespace
}  // namespace inferd::os
