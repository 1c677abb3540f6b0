#include "config/keys.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace inferd {
namespace {

namespace fs = std::filesystem;

// The key, or what there is instead.
std::string text(const Result<std::optional<os::SecretText>>& key) {
  if (!key) return "error: " + key.error().message;
  return *key ? std::string((*key)->view()) : "none";
}
std::string text(const Result<os::SecretText>& key) { return key ? std::string(key->view()) : "error: " + key.error().message; }

class Keys : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/keys_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    for (const char* variable : {"OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK", "KEYS_TEST"}) ::unsetenv(variable);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string file(const std::string& content, fs::perms mode = fs::perms::owner_read | fs::perms::owner_write) {
    const fs::path path = folder_ / "key";
    std::ofstream(path) << content;
    fs::permissions(path, mode);
    return path.string();
  }

  fs::path folder_;
  Effective effective_;
};

TEST_F(Keys, TheTcpKeyIsTheOptionsElseTheFilesElseTheVariables) {
  ListenSettings& listen = effective_.config.listen;
  EXPECT_EQ(text(tcp_key(effective_)), "none");
  ::setenv("KEYS_TEST", "from variable", 1);
  listen.api_key_env = "KEYS_TEST";
  EXPECT_EQ(text(tcp_key(effective_)), "from variable");
  listen.api_key_file = file("from file\n");
  EXPECT_EQ(text(tcp_key(effective_)), "from file");
  effective_.options.api_key = "from option";
  EXPECT_EQ(text(tcp_key(effective_)), "from option");
}

TEST_F(Keys, ATcpKeyThatIsNamedAndNotThereIsAnError) {
  ListenSettings& listen = effective_.config.listen;
  listen.api_key_env = "KEYS_TEST";
  EXPECT_NE(tcp_key(effective_).error().message.find("KEYS_TEST is not set"), std::string::npos);
  ::setenv("KEYS_TEST", "", 1);
  EXPECT_FALSE(tcp_key(effective_));
  listen.api_key_file = (folder_ / "none").string();
  EXPECT_FALSE(tcp_key(effective_));
  listen.api_key_file = file("key", fs::perms::owner_read | fs::perms::others_read);
  EXPECT_NE(tcp_key(effective_).error().message.find("listen.api_key_file"), std::string::npos);
  EXPECT_TRUE(check_keys(effective_)) << "TCP is not served";
  effective_.options.tcp = "127.0.0.1:0";
  EXPECT_FALSE(check_keys(effective_));
  effective_.options.api_key = "";
  EXPECT_FALSE(tcp_key(effective_));
}

TEST_F(Keys, AWipedKeyIsKnownToHaveBeenThereAndNotReadTwice) {
  effective_.options.tcp = "127.0.0.1:0";
  EXPECT_FALSE(has_tcp_key(effective_));
  effective_.options.api_key = "from option";
  effective_.options.given["--api-key"] = {ValueSource::From::kCommandLine, "--api-key"};
  effective_.config.listen.api_key_file = file("from file");
  EXPECT_EQ(text(tcp_key(effective_)), "from option");
  wipe_secrets(effective_.options);
  EXPECT_TRUE(has_tcp_key(effective_));
  EXPECT_FALSE(tcp_key(effective_)) << "not the file's: the option beat it";
  EXPECT_EQ(text(tcp_key_of_file(effective_)), "none");
  EXPECT_TRUE(check_keys(effective_));
}

TEST_F(Keys, OnlyAFileIsReadAgain) {
  EXPECT_EQ(text(tcp_key_of_file(effective_)), "none");
  ::setenv("KEYS_TEST", "from variable", 1);
  effective_.config.listen.api_key_env = "KEYS_TEST";
  EXPECT_EQ(text(tcp_key_of_file(effective_)), "none");
  effective_.config.listen.api_key_env.reset();
  effective_.config.listen.api_key_file = file("old");
  EXPECT_EQ(text(tcp_key_of_file(effective_)), "old");
  file("new");
  EXPECT_EQ(text(tcp_key_of_file(effective_)), "new");
  file("");
  EXPECT_FALSE(tcp_key_of_file(effective_));
}

TEST_F(Keys, TheFilesAddressOfASurfaceThatIsOffNeedsNoKey) {
  effective_.config.listen.api_key_env = "KEYS_TEST";
  effective_.options.v2_tcp = "127.0.0.1:0";
  EXPECT_TRUE(check_keys(effective_));
  effective_.options.v2 = true;
  EXPECT_FALSE(check_keys(effective_));
}

TEST_F(Keys, AProvidersKeyIsNeverAnothersByMistake) {
  OpenaiEntry entry;
  EXPECT_EQ(text(openai_key(entry, "backends[0]", effective_)), "");
  ::setenv("OPENAI_API_KEY", "global", 1);
  EXPECT_EQ(text(openai_key(entry, "backends[0]", effective_)), "global");
  effective_.options.openai_api_key = "option";
  EXPECT_EQ(text(openai_key(entry, "backends[0]", effective_)), "option");
  entry.api_key_env = "KEYS_TEST";
  EXPECT_NE(openai_key(entry, "backends[0]", effective_).error().message.find("backends[0].api_key_env"), std::string::npos);
  ::setenv("KEYS_TEST", "", 1);
  EXPECT_EQ(text(openai_key(entry, "backends[0]", effective_)), "") << "set and empty: no key";
  entry.api_key_file = file("own");
  EXPECT_EQ(text(openai_key(entry, "backends[0]", effective_)), "own");
  ::unsetenv("OPENAI_API_KEY");
}

TEST_F(Keys, ABearerTokenOfTheEnvironmentIsForTheCommandLinesEntryOnly) {
  BedrockEntry entry;
  ::setenv("AWS_BEARER_TOKEN_BEDROCK", "global", 1);
  EXPECT_EQ(text(bedrock_bearer_token(entry, "backends[0]", effective_)), "global");
  effective_.config.path = "c.json";
  EXPECT_EQ(text(bedrock_bearer_token(entry, "backends[0]", effective_)), "none");
  entry.bearer_token_env = "KEYS_TEST";
  EXPECT_EQ(text(bedrock_bearer_token(entry, "backends[0]", effective_)), "none") << "the key pair signs";
  ::setenv("KEYS_TEST", "token", 1);
  EXPECT_EQ(text(bedrock_bearer_token(entry, "backends[0]", effective_)), "token");
  ::unsetenv("AWS_BEARER_TOKEN_BEDROCK");
}

}  // namespace
}  // namespace inferd
