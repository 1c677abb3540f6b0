#include "store/verify.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <iterator>

#include "os/input_file.h"
#include "store/digest.h"

namespace inferd::store {
namespace {

namespace fs = std::filesystem;

class Verify : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/verify_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root_ = name;
    std::ofstream(root_ / "model") << "weights";
    fd_ = os::open_regular_file(root_ / "model").value();
  }
  void TearDown() override { fs::remove_all(root_); }

  Result<Verified> verify(VerifyPolicy policy) {
    VerificationRecords records{StorePaths(root_)};
    return verify_open_file(fd_.get(), root_ / "model", id_, policy, &records,
                            {.cancelled = cancelled_, .progress = [](uint64_t, uint64_t) {}});
  }
  os::FileIdentity state() const { return os::identity_of(fd_.get()).value(); }

  fs::path root_;
  os::UniqueFd fd_;
  const std::atomic<bool> cancelled_ = false;
  const BlobId id_ = BlobId::parse(sha256_of_text("weights").value()).value();
};

TEST_F(Verify, TellsTheRightBytesFromOthers) {
  const auto good = verify(VerifyPolicy::kAlways);
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(good->bytes, 7u);
  EXPECT_FALSE(good->from_record);
  std::ofstream(root_ / "model") << "weightz";
  const auto bad = verify(VerifyPolicy::kAlways);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, Code::kIntegrity);
  EXPECT_NE(bad.error().message.find(id_.hex()), std::string::npos);
}

TEST_F(Verify, AFileThatWasJustWrittenIsNotRecorded) {
  ASSERT_TRUE(verify(VerifyPolicy::kRecorded));
  EXPECT_FALSE(VerificationRecords{StorePaths(root_)}.vouch_for(id_, state()));
}

TEST_F(Verify, ARecordIsBelievedAsLongAsTheFileIsTheSame) {
  VerificationRecords records{StorePaths(root_)};
  ASSERT_TRUE(records.remember(id_, state()));
  EXPECT_TRUE(verify(VerifyPolicy::kRecorded)->from_record);
  EXPECT_FALSE(verify(VerifyPolicy::kAlways)->from_record);
  std::ofstream(root_ / "model") << "weightz";
  EXPECT_FALSE(verify(VerifyPolicy::kRecorded)) << "hashed again";
}

TEST_F(Verify, WrongBytesAreForgottenForEveryUser) {
  VerificationRecords records{StorePaths(root_)};
  ASSERT_TRUE(records.remember(id_, state()));
  const fs::path folder = root_ / "locks" / "verified", others = folder / (id_.hex() + ".4711");
  std::ofstream(others) << "x";
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 3) << "key and records, nothing unfinished";
  std::ofstream(root_ / "model") << "weightz";
  EXPECT_FALSE(verify(VerifyPolicy::kAlways));
  EXPECT_FALSE(fs::exists(others));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1) << "the key";
}

TEST_F(Verify, EachNumberOfTheFileCounts) {
  VerificationRecords records{StorePaths(root_)};
  ASSERT_TRUE(records.remember(id_, state()));
  ASSERT_TRUE(records.vouch_for(id_, state()));
  os::FileIdentity other = state();
  for (uint64_t* number : {&other.device, &other.inode, &other.size}) {
    ++*number;
    EXPECT_FALSE(records.vouch_for(id_, other));
    --*number;
  }
  for (int64_t* time : {&other.modified_ns, &other.changed_ns}) {
    ++*time;
    EXPECT_FALSE(records.vouch_for(id_, other));
    --*time;
  }
  EXPECT_FALSE(records.vouch_for(BlobId::parse(std::string(64, '1')).value(), other));
}

TEST_F(Verify, ARecordWithoutTheKeyOrWithAForgedOneIsNone) {
  VerificationRecords records{StorePaths(root_)};
  ASSERT_TRUE(records.remember(id_, state()));
  fs::path key;
  for (const auto& entry : fs::directory_iterator(root_ / "locks" / "verified")) {
    if (entry.path().extension() == ".key") key = entry.path();
  }
  EXPECT_EQ(fs::status(key).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  fs::permissions(key, fs::perms::group_read, fs::perm_options::add);
  EXPECT_FALSE(records.vouch_for(id_, state())) << "others could have read the key";
  fs::permissions(key, fs::perms::group_read, fs::perm_options::remove);
  EXPECT_TRUE(records.vouch_for(id_, state()));
  std::ofstream(key) << std::string(64, '0');
  EXPECT_FALSE(records.vouch_for(id_, state()));
}

}  // namespace
}  // namespace inferd::store
