#include "store/store_paths.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <set>

namespace inferd::store {
namespace {

const std::string kSha = "ab" + std::string(62, '0');

TEST(StorePaths, AreThoseOfTheFormat) {
  const StorePaths paths("/m");
  const BlobId id = BlobId::parse(kSha).value();
  const ModelName name = ModelName::parse("smol-1.7b q4").value();
  EXPECT_EQ(paths.blob(id), "/m/blobs/sha256/ab/" + kSha + "/data");
  EXPECT_EQ(paths.partial(id), "/m/blobs/sha256/ab/.partial-" + kSha + "/data.tmp");
  EXPECT_EQ(paths.manifest(name), "/m/manifests/smol-1.7b q4.json");
  EXPECT_EQ(paths.name_lock(name), "/m/locks/smol-1.7b q4.lock");
  EXPECT_EQ(paths.quarantine(), "/m/locks/quarantine");
}

TEST(BlobId, IsLowerCaseHexOrAnError) {
  EXPECT_EQ(BlobId::parse(std::string(64, 'A')).value().hex(), std::string(64, 'a'));
  EXPECT_FALSE(BlobId::parse("../" + std::string(61, 'a')));
  EXPECT_FALSE(BlobId::parse(""));
}

TEST(ModelName, NeverLeavesItsFolder) {
  for (const char* text : {"../../etc/passwd", "..", ".", "/abs", "a/b", "a\\b", ".hidden", "new\nline"}) {
    const std::string file = ModelName::parse(text).value().file_name();
    EXPECT_EQ(file.find_first_of("/\\\n"), std::string::npos) << text;
    EXPECT_NE(file.front(), '.') << text;
  }
  EXPECT_FALSE(ModelName::parse(""));
  EXPECT_FALSE(ModelName::parse("\xff"));
  EXPECT_FALSE(ModelName::parse(std::string(241, 'a')));
}

TEST(ModelName, HasAFileNameOfItsOwnThatReadsBack) {
  std::set<std::string> files;
  const auto names = {"a/b", "a%2Fb", "a%252Fb", "a%2/b", "100%", "%", "%%2F", ".a", "%2Ea", "\xC3\xA4", "a b", "\xC2\x9B[2J", "\xC2\xA0"};
  for (const std::string text : names) {
    const ModelName name = ModelName::parse(text).value();
    EXPECT_TRUE(files.insert(name.file_name()).second) << text;
    EXPECT_EQ(ModelName::from_file_name(name.file_name()).value().text(), text);
  }
  EXPECT_EQ(ModelName::parse("100%").value().file_name(), "100%") << "as other tools write it";
  EXPECT_EQ(ModelName::parse("a\xC2\x9B\x1B").value().file_name(), "a%C2%9B%1B") << "nothing that a terminal acts upon";
  EXPECT_FALSE(ModelName::from_file_name(".hidden"));
}

TEST(StoreRoot, IsAsConfiguredElseFromTheEnvironment) {
  ::setenv("HOME", "/home/me", 1);
  ::setenv("XDG_DATA_HOME", "/data", 1);
  ::unsetenv("MODELS_HOME");
  EXPECT_EQ(store_root("~/m"), "/home/me/m");
  EXPECT_EQ(store_root("/srv/m"), "/srv/m");
  EXPECT_EQ(store_root(""), "/data/models");
  ::setenv("MODELS_HOME", "/models", 1);
  EXPECT_EQ(store_root(""), "/models");
  ::unsetenv("MODELS_HOME");
  ::unsetenv("XDG_DATA_HOME");
  EXPECT_EQ(store_root(""), "/home/me/.local/share/models");
}

}  // namespace
}  // namespace inferd::store
