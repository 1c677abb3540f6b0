#include "config/nearest_name.h"

#include <gtest/gtest.h>

#include <array>

namespace inferd {
namespace {

TEST(NearestName, EveryKindOfSlipIsOneEdit) {
  EXPECT_EQ(edit_distance("n_ctx", "n_ctx"), 0u);
  EXPECT_EQ(edit_distance("n_ctxt", "n_ctx"), 1u);
  EXPECT_EQ(edit_distance("nctx", "n_ctx"), 1u);
  EXPECT_EQ(edit_distance("n-ctx", "n_ctx"), 1u);
  EXPECT_EQ(edit_distance("n_cxt", "n_ctx"), 1u);
  EXPECT_EQ(edit_distance("N_CTX", "n_ctx"), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(NearestName, OnlyWhatIsCloseIsSuggested) {
  constexpr std::array<std::string_view, 4> kNames = {"llamacpp", "openai-compat", "bedrock-invoke", "n_ctx"};
  EXPECT_EQ(nearest_name("lamacpp", kNames), "llamacpp");
  EXPECT_EQ(nearest_name("openai_compat", kNames), "openai-compat");
  EXPECT_EQ(nearest_name("bedrok-invoke", kNames), "bedrock-invoke");
  EXPECT_EQ(nearest_name("nctx", kNames), "n_ctx");
  EXPECT_FALSE(nearest_name("mock", kNames));
  EXPECT_FALSE(nearest_name("", kNames));
  EXPECT_FALSE(nearest_name(std::string(10'000, 'l'), kNames));
}

}  // namespace
}  // namespace inferd
