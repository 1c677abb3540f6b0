// The config file against spec 05 §2 and the list of 10-tests-as-cases (D7 to D20).
#include "config/config_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

namespace inferd {
namespace {

namespace fs = std::filesystem;

const std::string kSha(64, 'a');
const std::string kModel = R"({"name":"m","sha256":")" + kSha + R"(","source_url":"https://example.com/m.gguf"})";

std::string llamacpp(const std::string& more = "", const std::string& name = "chat") {
  return R"({"kind":"llamacpp","name":")" + name + R"(","model":)" + kModel + (more.empty() ? "" : "," + more) + "}";
}
std::string openai(const std::string& more) { return R"({"kind":"openai-compat","name":"o","model":"gpt",)" + more + "}"; }
std::string bedrock(const std::string& more) { return R"({"kind":"bedrock-invoke","name":"b",)" + more + "}"; }
std::string backends(const std::string& entries, const std::string& more = "") {
  return R"({"backends":[)" + entries + "]" + (more.empty() ? "" : "," + more) + "}";
}

ConfigFile read(const std::string& text) {
  auto config = read_config(text, "c.json");
  EXPECT_TRUE(config) << text << "\n" << config.error().message;
  return config ? std::move(*config) : ConfigFile();
}

// The error names the file, and says all of `parts`.
void refuses(const std::string& text, std::initializer_list<std::string> parts) {
  const auto config = read_config(text, "c.json");
  ASSERT_FALSE(config) << text;
  const std::string& message = config.error().message;
  EXPECT_TRUE(message.starts_with("c.json: ")) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message << "\nexpected: " << part;
}

const LlamacppEntry& first(const ConfigFile& config) { return std::get<LlamacppEntry>(config.backends.at(0)); }

TEST(ConfigFile, AFullLegacyFileBecomesOneBackend) {  // D7, D18
  const auto config = read(R"({"auto_pull":false,"models_home":"~/models","n_ctx":4096,"n_gpu_layers":-1,"model":{"name":"gemma",
      "sha256":")" + kSha + R"(","size_bytes":5126304928,"source_url":"https://example.com/a.gguf","license":"MIT"}})");
  EXPECT_FALSE(config.auto_pull);
  EXPECT_EQ(config.models_home, "~/models");
  EXPECT_FALSE(config.model);
  ASSERT_EQ(config.backends.size(), 1u);
  const LlamacppEntry& entry = first(config);
  EXPECT_EQ(entry.name, "gemma");
  EXPECT_EQ(entry.model.name, "gemma");
  EXPECT_EQ(entry.model.size_bytes, 5126304928u);
  EXPECT_EQ(entry.model.license, "MIT");
  EXPECT_EQ(entry.n_ctx, 4096u);
  EXPECT_EQ(entry.n_gpu_layers, -1);
  EXPECT_FALSE(entry.embed);
  EXPECT_EQ(entry.embed_n_ctx, 2048u);
  for (const char* path : {"backends[0].n_ctx", "backends[0].model.sha256", "backends[0].name", "auto_pull"}) {
    EXPECT_TRUE(config.given.contains(path)) << path;
  }
  EXPECT_FALSE(config.given.contains("n_ctx"));
  EXPECT_TRUE(config.warnings.empty());
}

TEST(ConfigFile, Defaults) {  // D12, D19, D20
  const auto config = read(backends(llamacpp()));
  EXPECT_TRUE(config.auto_pull);
  EXPECT_FALSE(config.models_home);
  EXPECT_FALSE(config.listen.tcp);
  EXPECT_FALSE(first(config).n_ctx);
  EXPECT_EQ(first(config).n_gpu_layers, 0);
  EXPECT_FALSE(first(config).embed);
  EXPECT_FALSE(first(config).embed_pooling);
  EXPECT_EQ(first(config).embed_n_ctx, 2048u);
  EXPECT_EQ(first(config).prefix_sharing, "user");
  EXPECT_FALSE(config.given.contains("backends[0].n_ctx"));
}

TEST(ConfigFile, EveryKindIsReadInItsOrder) {  // D13, D15, D17
  const auto config = read(backends(openai(R"("base_url":"http://localhost:11434","api_key_env":"KEY")") + "," +
                                    bedrock(R"("region":"eu-west-1","model_id":"x:0","api_key_file":"/k","timeout_secs":5)") + "," +
                                    llamacpp()));
  ASSERT_EQ(config.backends.size(), 3u);
  const auto& remote = std::get<OpenaiEntry>(config.backends[0]);
  EXPECT_EQ(remote.base_url, "http://localhost:11434");
  EXPECT_EQ(remote.api_key_env, "KEY");
  EXPECT_EQ(remote.timeout_secs, 300u);
  const auto& aws = std::get<BedrockEntry>(config.backends[1]);
  EXPECT_EQ(aws.region, "eu-west-1");
  EXPECT_EQ(aws.api_key_file, "/k");
  EXPECT_EQ(aws.timeout_secs, 5u);
  EXPECT_EQ(name_of(config.backends[2]), "chat");
}

TEST(ConfigFile, TheEnginesSettingsListenAndLimits) {
  const auto config = read(backends(llamacpp(R"("parallel":4,"kv_cells":32768,"threads":2,"prefix_sharing":"all","host_cache_bytes":0,
      "step_timeout_secs":60,"sandbox":"required","embed":true,"embed_pooling":-1,"n_ctx":4294967295)"),
      R"("listen":{"tcp":"127.0.0.1:1","tcp_v2":"[::1]:2","tcp_embed":"127.0.0.1:3","api_key_file":"~/key"},"limits":{"queue_depth":0})"));
  const LlamacppEntry& entry = first(config);
  EXPECT_EQ(entry.parallel, 4u);
  EXPECT_EQ(entry.kv_cells, 32768u);
  EXPECT_EQ(entry.threads, 2u);
  EXPECT_EQ(entry.prefix_sharing, "all");
  EXPECT_EQ(entry.host_cache_bytes, 0u);
  EXPECT_EQ(entry.step_timeout_secs, 60u);
  EXPECT_EQ(entry.sandbox, "required");
  EXPECT_TRUE(entry.embed);
  EXPECT_EQ(entry.embed_pooling, -1);
  EXPECT_EQ(entry.n_ctx, 4294967295u);
  EXPECT_EQ(config.listen.tcp_v2, "[::1]:2");
  EXPECT_EQ(config.listen.api_key_file, "~/key");
  EXPECT_EQ(config.limits.queue_depth, 0u);
}

TEST(ConfigFile, AccessLists) {
  EXPECT_FALSE(read(backends(llamacpp())).access.v1);
  EXPECT_FALSE(read(backends(llamacpp(), R"("access":{"v1":null})")).access.v1);
  const auto config = read(backends(llamacpp(), R"("access":{"v1":{"users":["alice","1001"],"groups":["staff"]},"embed":{}})"));
  ASSERT_TRUE(config.access.v1);
  EXPECT_EQ(config.access.v1->users, (std::vector<std::string>{"alice", "1001"}));
  EXPECT_EQ(config.access.v1->groups, (std::vector<std::string>{"staff"}));
  EXPECT_FALSE(config.access.v2);
  ASSERT_TRUE(config.access.embed) << "an empty list is not the same as none";
  EXPECT_TRUE(config.access.embed->users.empty());
  EXPECT_TRUE(config.given.contains("access.embed"));
}

TEST(ConfigFile, AccessListsAreExact) {
  const auto with = [](const std::string& access) { return backends(llamacpp(), R"("access":)" + access); };
  refuses(with("[]"), {"access: an array: expected an object"});
  refuses(with(R"({"v1":["alice"]})"), {"access.v1: an array: expected an object"});
  refuses(with(R"({"v1":{"users":"alice"}})"), {"access.v1.users: \"alice\": expected an array of at most 16"});
  refuses(with(R"({"v1":{"users":["alice"," "]}})"), {"access.v1.users[1]", "not blank"});
  refuses(with(R"({"v2":{"groups":[1001]}})"), {"access.v2.groups[0]: 1001: expected a string"});
  std::string many = "\"u\"";
  for (int i = 0; i < 16; ++i) many += ",\"u\"";
  refuses(with(R"({"embed":{"users":[)" + many + "]}}"), {"access.embed.users", "at most 16"});
}

TEST(ConfigFile, LogFilterAndVerify) {
  const auto none = read(backends(llamacpp()));
  EXPECT_FALSE(none.log_filter);
  EXPECT_EQ(none.verify, "recorded");
  const auto config = read(backends(llamacpp(), R"("log_filter":"warn,engine=debug","verify":"always")"));
  EXPECT_EQ(config.log_filter, "warn,engine=debug");
  EXPECT_EQ(config.verify, "always");
  refuses(backends(llamacpp(), R"("log_filter":"loud")"), {"log_filter: \"loud\"", "component=level"});
  refuses(backends(llamacpp(), R"("log_filter":"warn,engine=loud")"), {"log_filter"});
  refuses(backends(llamacpp(), R"("verify":"never")"), {"verify: \"never\": expected \"recorded\" or \"always\""});
}

TEST(ConfigFile, NullIsAbsentWhereAFieldIsOptional) {
  const auto config = read(R"({"model":null,"auto_pull":null,"listen":null,"backends":[)" +
                           llamacpp(R"("n_ctx":null,"embed_pooling":null)") + "]}");
  EXPECT_TRUE(config.auto_pull);
  EXPECT_FALSE(first(config).n_ctx);
  refuses(backends(R"({"kind":"llamacpp","name":null,"model":)" + kModel + "}"), {"backends[0].name", "null", "not empty"});
}

TEST(ConfigFile, ExactlyOneForm) {  // D14
  refuses(R"({"model":)" + kModel + R"(,"backends":[)" + llamacpp() + "]}", {"mutually exclusive"});
  refuses("{}", {"must specify either"});
  refuses(R"({"model":null,"backends":null})", {"must specify either"});
  refuses(R"({"backends":[]})", {"backends", "must not be empty"});
  refuses(backends(llamacpp() + "," + llamacpp()), {"backends[1].name", "\"chat\"", "duplicate"});
}

TEST(ConfigFile, AModelIsExact) {  // D10, D11
  const auto with = [](const std::string& from, const std::string& to) {
    std::string text = R"({"model":)" + kModel + "}";
    return text.replace(text.find(from), from.size(), to);
  };
  refuses(with("https://", "http://"), {"model.source_url", "http://example.com/m.gguf", "https://"});
  refuses(with(kSha, std::string(64, 'A')), {"model.sha256", "lowercase hex"});
  refuses(with(kSha, "abc"), {"model.sha256", "\"abc\"", "64 lowercase hex"});
  refuses(with(R"("name":"m")", R"("name":"")"), {"model.name", "not empty"});
  refuses(with(R"("name":"m",)", ""), {"model.name", "missing"});
  refuses(with(R"("name":"m")", R"("name":"m","source_urls":["https://a/","ftp://b/"])"), {"model.source_urls[1]", "ftp://b/", "https://"});
  refuses(with(R"("name":"m")", R"("name":"m","size_bytes":-1)"), {"model.size_bytes", "-1", "an integer from 0"});
}

TEST(ConfigFile, BackendsAreExact) {  // D15, D16, D17
  refuses(backends(openai(R"("base_url":"")")), {"backends[0].base_url", "http://"});
  refuses(backends(openai(R"("base_url":"ftp://x")")), {"backends[0].base_url", "ftp://x"});
  refuses(backends(openai(R"("base_url":"http://x","timeout_secs":0)")), {"backends[0].timeout_secs", ": 0: ", "from 1"});
  refuses(backends(openai(R"("base_url":"http://x","api_key_env":"A","api_key_file":"/k")")), {"api_key_file", "`api_key_env`"});
  refuses(backends(bedrock(R"("region":" ","model_id":"m")")), {"backends[0].region"});
  refuses(backends(bedrock(R"("region":"r","model_id":"")")), {"backends[0].model_id"});
  refuses(backends(llamacpp() + "," + llamacpp(R"("n_ctx":0)", "b")), {"backends[1].n_ctx: 0: expected an integer from 1 to 4294967295"});
  refuses(backends(llamacpp(R"("sandbox":"on")")), {"backends[0].sandbox", "\"on\"", "\"auto\" or \"required\" or \"off\""});
  refuses(backends(llamacpp(R"("parallel":129)")), {"backends[0].parallel", "129", "1 to 128"});
  refuses(backends(R"({"name":"x"})"), {"backends[0].kind", "missing", "\"llamacpp\""});
  refuses(backends(R"({"kind":"lamacpp","name":"x"})"), {"backends[0].kind", "\"lamacpp\"", "did you mean \"llamacpp\"?"});
  refuses(backends(R"({"kind":7})"), {"backends[0].kind", "7"});
  refuses(backends("7"), {"backends[0]", "an object"});
  refuses(backends(llamacpp(), R"("listen":{"tcp":" "})"), {"listen.tcp"});
  refuses(backends(llamacpp(), R"("n_ctx":0)"), {"n_ctx", "from 1"});  // checked even where it has no effect
  std::string many = llamacpp("", "0");
  for (int i = 1; i < 65; ++i) many += "," + llamacpp("", std::to_string(i));
  refuses(backends(many), {"backends", "65 entries", "64"});
}

TEST(ConfigFile, WrongTypesAndNumbersOutOfRange) {
  for (const char* value : {"1e400", "8192.0", "-1", "4294967296", "18446744073709551616", "\"8192\"", "true", "[]", "{}", "1E3"}) {
    refuses(backends(llamacpp(R"("n_ctx":)" + std::string(value))), {"backends[0].n_ctx", "expected an integer"});
  }
  refuses(backends(llamacpp(R"("embed":1)")), {"backends[0].embed: 1: expected true or false"});
  refuses(backends(llamacpp(R"("model":"m")")), {"backends[0].model", "duplicate"});
  refuses(R"({"model":"m"})", {"model: \"m\": expected an object"});
  refuses(R"({"backends":{}})", {"backends: an object: expected an array"});
  refuses(backends(llamacpp(), R"("auto_pull":"yes")"), {"auto_pull: \"yes\": expected true or false"});
  for (const char* text : {"[]", "7", "\"x\"", "null"}) refuses(text, {"expected an object"});
}

TEST(ConfigFile, WhatIsNoJson) {  // D9
  const std::string whole = backends(llamacpp());
  for (size_t length = 0; length < whole.size(); ++length) refuses(whole.substr(0, length), {"no JSON", "line 1"});
  refuses("{\"backends\":\"\xFF\"}", {"UTF-8"});
  refuses("// comment\n" + whole, {"no JSON", "line 1"});
  refuses(std::string(200, '['), {"nested"});
}

TEST(ConfigFile, AKnownFieldStandsOnce) {
  refuses(backends(llamacpp(), R"("auto_pull":true,"auto_pull":true)"), {"auto_pull", "duplicate"});
  refuses(backends(llamacpp(R"("n_ctx":1,"n_ctx":null)")), {"backends[0].n_ctx", "duplicate"});
  refuses(backends(llamacpp(R"("kind":"llamacpp")")), {"backends[0].kind", "duplicate"});
  EXPECT_TRUE(read(backends(llamacpp(), R"("//":"one","//":"two")")).warnings.empty()) << "comments may be repeated";
}

TEST(ConfigFile, AnUnknownFieldIsIgnoredWithAWarning) {
  const auto config = read(backends(llamacpp(R"("paralel":4,"colour":"red","_note":1)"), R"("$schema":"x","auto-pull":false)"));
  EXPECT_TRUE(config.auto_pull);
  ASSERT_EQ(config.warnings.size(), 3u);
  EXPECT_EQ(config.warnings[0], "c.json: unknown field \"auto-pull\" is ignored (did you mean \"auto_pull\"?)");
  EXPECT_EQ(config.warnings[1], "c.json: backends[0]: unknown field \"paralel\" is ignored (did you mean \"parallel\"?)");
  EXPECT_EQ(config.warnings[2], "c.json: backends[0]: unknown field \"colour\" is ignored");
}

TEST(ConfigFile, WarningsAreBounded) {
  std::string many = R"("x0":0)";
  for (int i = 1; i < 1000; ++i) many += ",\"x" + std::to_string(i) + "\":0";
  const auto config = read(backends(llamacpp(), many));
  ASSERT_EQ(config.warnings.size(), 33u);
  EXPECT_EQ(config.warnings.back(), "c.json: and more like these");
}

TEST(ConfigFile, FieldsWithoutEffectAreSaidToHaveNone) {
  const auto config = read(backends(llamacpp(), R"("n_ctx":1,"n_gpu_layers":2,"admin_addr":"/x")"));
  EXPECT_EQ(config.warnings.size(), 3u);
}

TEST(ConfigFile, AKeyInTheWrongPlaceIsNotRepeated) {
  const auto config = read_config(backends(openai(R"("base_url":"http://u:SECRET@x?k=SECRET","api_key_env":"sk-SECRET")")), "c.json");
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message.find("not the key itself"), std::string::npos);
  EXPECT_EQ(config.error().message.find("SECRET"), std::string::npos);
  const auto other = read_config(backends(openai(R"("base_url":"htp://u:SECRET@x?k=SECRET")")), "c.json");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message.find("SECRET"), std::string::npos) << other.error().message;
}

class LoadedFile : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/config_file_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    path_ = folder_ / "config.json";
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  void fails(const std::string& says) {
    const auto loaded = load_config_file(path_);
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().message.find(path_.string()), std::string::npos) << loaded.error().message;
    EXPECT_NE(loaded.error().message.find(says), std::string::npos) << loaded.error().message;
  }
  fs::path folder_, path_;
};

TEST_F(LoadedFile, AMissingFileIsNone) {  // D8
  const auto loaded = load_config_file(path_);
  ASSERT_TRUE(loaded);
  EXPECT_FALSE(*loaded);
}

TEST_F(LoadedFile, OneThatIsThereButWrongIsNeverMissing) {
  write("");
  fails("is the file cut?");
  write("{}");
  fails("must specify either");
  write(std::string(kMaxConfigBytes + 1, ' '));
  fails("larger than 1048576 bytes");
  fs::remove(path_);
  fs::create_symlink("nowhere", path_);
  fails("No such file");
  fs::remove(path_);
  fs::create_directory(path_);
  fails("directory");
}

TEST_F(LoadedFile, TheBoundItselfIsNotBeyond) {
  const std::string text = backends(llamacpp());
  write(text + std::string(kMaxConfigBytes - text.size(), ' '));
  EXPECT_TRUE(load_config_file(path_));
}

// README 16: read once, as a stream.
TEST_F(LoadedFile, APipeIsReadAsAStream) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  std::thread writer([&] { write(backends(llamacpp())); });
  const auto loaded = load_config_file(path_);
  writer.join();
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ((*loaded)->backends.size(), 1u);
}

TEST(ExpandHome, ALeadingTildeIsTheHomeFolder) {
  ::setenv("HOME", "/home/x", 1);
  EXPECT_EQ(expand_home("~/models").string(), "/home/x/models");
  EXPECT_EQ(expand_home("~\\models").string(), "/home/x/models");
  EXPECT_EQ(expand_home("/a/~/b").string(), "/a/~/b");
  EXPECT_EQ(expand_home("~user/a").string(), "~user/a");
}

}  // namespace
}  // namespace inferd
