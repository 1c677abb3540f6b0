#include "backend/llamacpp/suspects.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

using Verdict = Suspects::Verdict;
using std::chrono::minutes;

TEST(Suspects, TwoDeathsMeanAloneAndAThirdThereMeansRefusedForTenMinutes) {
  Suspects suspects;
  const auto bad = suspects.hash_of("bad");
  Suspects::Time now{};
  EXPECT_TRUE(suspects.empty());
  suspects.died({bad}, false, now);
  EXPECT_EQ(suspects.verdict(bad, now), Verdict::kFine);
  suspects.died({bad}, false, now);
  EXPECT_EQ(suspects.verdict(bad, now), Verdict::kAlone);
  suspects.died({bad}, true, now);
  EXPECT_EQ(suspects.verdict(bad, now), Verdict::kRefused);
  EXPECT_EQ(suspects.verdict(bad, now + minutes(9)), Verdict::kRefused);
  EXPECT_EQ(suspects.verdict(bad, now + minutes(11)), Verdict::kFine);
}

TEST(Suspects, WhoWasThereOnceIsFine) {
  Suspects suspects;
  const auto bad = suspects.hash_of("bad"), other = suspects.hash_of("other");
  suspects.died({bad, other}, false, {});
  suspects.died({bad}, false, {});
  EXPECT_EQ(suspects.verdict(other, {}), Verdict::kFine);
  EXPECT_EQ(suspects.verdict(bad, {}), Verdict::kAlone);
}

TEST(Suspects, HashesDependOnContentAndKey) {
  Suspects one, two;
  EXPECT_EQ(one.hash_of("a"), one.hash_of("a"));
  EXPECT_NE(one.hash_of("a"), one.hash_of("b"));
  EXPECT_NE(one.hash_of("a"), two.hash_of("a"));
}

TEST(Suspects, ItsMemoryIsBounded) {
  Suspects suspects;
  const auto first = suspects.hash_of("0");
  suspects.died({first}, false, {});
  suspects.died({first}, false, {});
  for (int i = 1; i < 5000; ++i) suspects.died({suspects.hash_of(std::to_string(i))}, false, Suspects::Time{} + std::chrono::milliseconds(i));
  EXPECT_EQ(suspects.verdict(first, {}), Verdict::kFine) << "the oldest was forgotten";
}

}  // namespace
}  // namespace inferd
