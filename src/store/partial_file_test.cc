#include "store/partial_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "os/file_reader.h"

namespace inferd::store {
namespace {

namespace fs = std::filesystem;

class PartialFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/partial_file_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    paths_ = StorePaths(name);
  }
  void TearDown() override { fs::remove_all(paths_.root()); }

  PartialFile open() {
    auto partial = PartialFile::open(os::file_system(), paths_, id_, {.recent = 10, .durable = 100});
    EXPECT_TRUE(partial) << partial.error().message;
    return std::move(*partial);
  }
  fs::path beside(const std::string& suffix) { return paths_.partial(id_).string() + suffix; }
  static void change(const fs::path& path, const std::string& what, const std::string& instead) {
    std::string text = os::read_file(path, 10000).value();
    std::ofstream(path) << text.replace(text.find(what), what.size(), instead);
  }

  StorePaths paths_{""};
  const BlobId id_ = BlobId::parse(std::string(64, 'a')).value();
};

TEST_F(PartialFiles, GoesOnWhereTheLastProcessWasKilled) {
  {
    PartialFile partial = open();
    partial.set_origin({.url = "https://h/f", .validator = "\"tag 1\"", .total = 500, .mixed = true});
    ASSERT_TRUE(partial.write(0, std::string(12, 'a')));    // recorded
    ASSERT_TRUE(partial.write(200, std::string(15, 'b')));  // recorded
    ASSERT_TRUE(partial.write(12, std::string(3, 'c')));    // not yet
  }
  const PartialFile partial = open();
  EXPECT_EQ(partial.origin().url, "https://h/f");
  EXPECT_EQ(partial.origin().validator, "\"tag 1\"");
  EXPECT_EQ(partial.origin().total, 500u);
  EXPECT_TRUE(partial.origin().mixed);
  EXPECT_EQ(partial.ranges().ends_by_begin(), (std::map<uint64_t, uint64_t>{{0, 12}, {200, 215}}));
}

TEST_F(PartialFiles, AfterARestartOfTheMachineOnlySyncedBytesCount) {
  {
    PartialFile partial = open();
    ASSERT_TRUE(partial.write(0, std::string(100, 'a')));  // synced and recorded durably
    ASSERT_TRUE(partial.write(100, std::string(50, 'b')));
  }
  EXPECT_EQ(open().ranges().total(), 150u);
  fs::remove(beside(".recent"));
  EXPECT_EQ(open().ranges().total(), 100u);
}

TEST_F(PartialFiles, BytesThatAreNoLongerThereDoNotCount) {
  ASSERT_TRUE(open().write(0, std::string(100, 'a')));
  fs::resize_file(paths_.partial(id_), 60);
  EXPECT_EQ(open().ranges().total(), 60u);
}

TEST_F(PartialFiles, BytesThatNoRecordKnowsAreCutOff) {
  ASSERT_TRUE(open().write(0, std::string(100, 'a')));
  fs::resize_file(paths_.partial(id_), 500);
  EXPECT_EQ(open().ranges().total(), 100u);
  EXPECT_EQ(fs::file_size(paths_.partial(id_)), 100u);
  ASSERT_TRUE(open().record_recent());
  PartialFile partial = open();
  EXPECT_FALSE(partial.sync(101));
  ASSERT_TRUE(partial.sync(60));
  EXPECT_EQ(fs::file_size(paths_.partial(id_)), 60u);
}

TEST_F(PartialFiles, ADamagedRecordIsNone) {
  ASSERT_TRUE(open().write(0, std::string(100, 'a')));
  change(beside(".recent"), "0-100", "0-900");
  EXPECT_EQ(open().ranges().total(), 100u) << "the durable one";
  ASSERT_TRUE(open().write(100, std::string(20, 'a')));
  change(beside(".recent"), "boot ", "boot x");
  change(beside(".ranges"), "ranges 0", "ranges 1");
  EXPECT_EQ(open().ranges().total(), 0u);
  EXPECT_EQ(fs::file_size(paths_.partial(id_)), 0u);
}

TEST_F(PartialFiles, AFileWithoutARecordStartsFromZero) {
  fs::create_directories(paths_.partial_folder(id_));
  std::ofstream(paths_.partial(id_)) << "what another tool left";
  EXPECT_EQ(open().ranges().total(), 0u);
  EXPECT_EQ(fs::file_size(paths_.partial(id_)), 0u);
}

}  // namespace
}  // namespace inferd::store
