// Precedence of command line, environment and config file: spec README 18 and 20, spec 05 §3.
#include "config/effective.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "config/config_table.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;
using From = ValueSource::From;

const std::string kSha(64, 'a');

std::string llamacpp(const std::string& name, const std::string& more = "") {
  return R"({"kind":"llamacpp","name":")" + name + R"(","model":{"name":"m","sha256":")" + kSha +
         R"(","source_url":"https://example.com/m"})" + (more.empty() ? "" : "," + more) + "}";
}
const std::string kOpenai = R"({"kind":"openai-compat","name":"o","base_url":"http://localhost:1","model":"gpt"})";

DaemonOptions options(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "inferd-daemon");
  auto parsed = parse_command_line(static_cast<int>(arguments.size()), arguments.data());
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed ? *parsed->options : DaemonOptions();
}

std::optional<ConfigFile> file(const std::string& entries, const std::string& more = "") {
  auto config = read_config(R"({"backends":[)" + entries + "]" + (more.empty() ? "" : "," + more) + "}", "c.json");
  EXPECT_TRUE(config) << config.error().message;
  return config ? std::optional(std::move(*config)) : std::nullopt;
}

Effective merged(std::vector<const char*> arguments, std::optional<ConfigFile> config) {
  auto effective = merge(options(std::move(arguments)), std::move(config));
  EXPECT_TRUE(effective) << effective.error().message;
  return effective ? std::move(*effective) : Effective();
}

void refuses(std::vector<const char*> arguments, std::optional<ConfigFile> config, const std::string& says) {
  const auto effective = merge(options(std::move(arguments)), std::move(config));
  ASSERT_FALSE(effective);
  EXPECT_NE(effective.error().message.find(says), std::string::npos) << effective.error().message;
}

const LlamacppEntry& entry(const Effective& effective, size_t index = 0) {
  return std::get<LlamacppEntry>(effective.config.backends.at(index));
}

void expect_source(const Effective& effective, const std::string& path, From from, const std::string& name) {
  const auto found = effective.sources.find(path);
  ASSERT_NE(found, effective.sources.end()) << path;
  EXPECT_EQ(found->second.from, from) << path;
  EXPECT_EQ(found->second.name, name) << path;
}

TEST(Effective, WithoutAFileAndAnOptionItIsTheMock) {
  const auto effective = merged({}, std::nullopt);
  ASSERT_EQ(effective.config.backends.size(), 1u);
  EXPECT_EQ(kind_of(effective.config.backends[0]), "mock");
}

TEST(Effective, TheFilesBackendsWhateverKindIsNamed) {
  for (const auto& arguments : std::vector<std::vector<const char*>>{{}, {"--backend", "llamacpp"}, {"--backend", "openai-compat"}}) {
    const auto effective = merged(arguments, file(llamacpp("a") + "," + kOpenai));
    ASSERT_EQ(effective.config.backends.size(), 2u);
    EXPECT_EQ(name_of(effective.config.backends[1]), "o");
    expect_source(effective, "backends[0].model.sha256", From::kFile, "c.json");
  }
}

TEST(Effective, MockIgnoresTheFilesBackends) {
  const auto effective = merged({"--backend", "mock"}, file(llamacpp("a")));
  ASSERT_EQ(effective.config.backends.size(), 1u);
  EXPECT_EQ(kind_of(effective.config.backends[0]), "mock");
  EXPECT_FALSE(effective.sources.contains("backends[0].name"));
}

TEST(Effective, AnOptionThatNamesAModelReplacesTheFilesBackends) {
  const std::string upper(64, 'B');
  const auto effective = merged({"--model-path", "/m/x.gguf", "--model-sha256", upper.c_str(), "--n-ctx", "512"},
                                file(llamacpp("a") + "," + kOpenai));
  ASSERT_EQ(effective.config.backends.size(), 1u);
  EXPECT_EQ(entry(effective).name, "llamacpp");
  EXPECT_EQ(entry(effective).model_path, fs::path("/m/x.gguf"));
  EXPECT_EQ(entry(effective).model.sha256, std::string(64, 'b'));
  EXPECT_EQ(entry(effective).n_ctx, 512u);
  expect_source(effective, "backends[0].model_path", From::kCommandLine, "--model-path");
  expect_source(effective, "backends[0].n_ctx", From::kCommandLine, "--n-ctx");
}

TEST(Effective, TheSameWithoutAFile) {
  const auto effective = merged({"--backend", "llamacpp", "--model-path", "x.gguf", "--model-sha256", kSha.c_str()}, std::nullopt);
  EXPECT_EQ(entry(effective).name, "llamacpp");
  EXPECT_EQ(entry(effective).model.name, "x");
  refuses({"--backend", "llamacpp"}, std::nullopt, "--model-path");
  refuses({"--backend", "llamacpp", "--model-path", "x"}, std::nullopt, "--model-sha256");
  refuses({"--backend", "llamacpp", "--model-path", "x", "--model-sha256", "abc"}, std::nullopt, "64 hex digits");
  refuses({"--model-path", "x"}, std::nullopt, "--model-path is used by --backend llamacpp only");
  refuses({"--backend", "mock", "--model-path", "x"}, std::nullopt, "--model-path is used by --backend llamacpp only");
  refuses({"--backend", "openai-compat"}, std::nullopt, "--openai-base-url");
  refuses({"--model-path", "x", "--openai-base-url", "http://x"}, file(llamacpp("a")), "give --backend");
}

TEST(Effective, AnOptionOverridesItsFieldInEveryEntry) {
  const auto effective = merged({"--n-ctx", "1024", "--active-permits", "3", "--threads", "2", "--prefix-sharing", "all"},
                                file(llamacpp("a", R"("n_ctx":2048,"threads":1)") + "," + llamacpp("b") + "," + kOpenai));
  for (size_t i : {0, 1}) {
    EXPECT_EQ(entry(effective, i).n_ctx, 1024u);
    EXPECT_EQ(entry(effective, i).parallel, 3u);
    EXPECT_EQ(entry(effective, i).threads, 2u);
    EXPECT_EQ(entry(effective, i).prefix_sharing, "all");
    EXPECT_EQ(entry(effective, i).host_cache_bytes, 512u << 20) << "what was not given stays";
  }
  EXPECT_EQ(std::get<OpenaiEntry>(effective.config.backends[2]).parallel, 3u);
}

TEST(Effective, TheEnvironmentBeatsTheFileAndTheCommandLineBoth) {
  ::setenv("INFERD_N_CTX", "100", 1);
  const auto from_environment = merged({}, file(llamacpp("a", R"("n_ctx":2048)")));
  const auto from_line = merged({"--n-ctx", "200"}, file(llamacpp("a", R"("n_ctx":2048)")));
  ::unsetenv("INFERD_N_CTX");
  EXPECT_EQ(entry(from_environment).n_ctx, 100u);
  expect_source(from_environment, "backends[0].n_ctx", From::kEnvironment, "INFERD_N_CTX");
  EXPECT_EQ(entry(from_line).n_ctx, 200u);
  expect_source(from_line, "backends[0].n_ctx", From::kCommandLine, "--n-ctx");
}

TEST(Effective, AnOptionKeepsTheBoundsOfItsField) {
  refuses({"--n-ctx", "0"}, file(llamacpp("a")), "--n-ctx 0: expected an integer from 1");
  refuses({"--active-permits", "129"}, file(llamacpp("a")), "--active-permits 129: expected an integer from 1 to 128");
  EXPECT_EQ(entry(merged({"--active-permits", "0"}, file(llamacpp("a")))).parallel, 1u) << "as published";
}

TEST(Effective, WhatDoesNotFitTogetherIsNamedByWhereItStands) {
  refuses({}, file(llamacpp("a", R"("n_ctx":8192,"kv_cells":4096)")),
          "c.json: backends[0].kv_cells: 4096 is less than c.json: backends[0].n_ctx: 8192");
  refuses({"--kv-cells", "10"}, file(llamacpp("a", R"("n_ctx":20)")), "--kv-cells 10 is less than c.json: backends[0].n_ctx: 20");
  refuses({}, file(llamacpp("a", R"("n_gpu_layers":5)")), "c.json: backends[0].n_gpu_layers: 5: this build has no GPU support");
  refuses({"--n-gpu-layers", "1"}, file(llamacpp("a")), "--n-gpu-layers 1: this build has no GPU support");
}

TEST(Effective, LimitsComeFromTheFileUnlessGiven) {
  const auto effective = merged({"--queue-depth", "3"}, file(llamacpp("a"), R"("limits":{"queue_depth":7,"drain_timeout_secs":5})"));
  EXPECT_EQ(effective.options.queue_depth, 3u);
  EXPECT_EQ(effective.config.limits.queue_depth, 3u);
  EXPECT_EQ(effective.options.drain_timeout_secs, 5u);
  EXPECT_EQ(effective.options.write_timeout_secs, 60u);
  expect_source(effective, "limits.queue_depth", From::kCommandLine, "--queue-depth");
  expect_source(effective, "limits.drain_timeout_secs", From::kFile, "c.json");
}

TEST(Effective, TransportsOfTheFileAreUsedWhereNoneWasGiven) {
  const std::string listen = R"("listen":{"tcp":"127.0.0.1:1","tcp_v2":"127.0.0.1:2","tcp_embed":"127.0.0.1:3"})";
  const auto effective = merged({}, file(llamacpp("a"), listen));
  EXPECT_EQ(effective.options.tcp, "127.0.0.1:1");
  EXPECT_EQ(effective.options.v2_tcp, "127.0.0.1:2");
  EXPECT_EQ(effective.options.embed_tcp, "127.0.0.1:3");
  EXPECT_TRUE(effective.config.warnings.empty());
  const auto given = merged({"--uds", "/x", "--v2", "--v2-addr", "/y", "--embed", "--embed-tcp", "127.0.0.1:9"}, file(llamacpp("a"), listen));
  EXPECT_FALSE(given.options.tcp);
  EXPECT_FALSE(given.options.v2_tcp);
  EXPECT_EQ(given.options.embed_tcp, "127.0.0.1:9");
  EXPECT_FALSE(given.config.listen.tcp);
  EXPECT_EQ(given.config.warnings.size(), 3u);
}

TEST(Effective, VerifyComesFromTheFileUnlessGiven) {
  EXPECT_EQ(merged({}, file(llamacpp("a"))).options.verify, "recorded");
  const auto of_file = merged({}, file(llamacpp("a"), R"("verify":"always")"));
  EXPECT_EQ(of_file.options.verify, "always");
  expect_source(of_file, "verify", From::kFile, "c.json");
  const auto given = merged({"--verify", "recorded"}, file(llamacpp("a"), R"("verify":"always")"));
  EXPECT_EQ(given.options.verify, "recorded");
  EXPECT_EQ(given.config.verify, "recorded");
  expect_source(given, "verify", From::kCommandLine, "--verify");
}

TEST(Effective, TheEnvironmentsLogFilterBeatsTheFiles) {
  EXPECT_FALSE(merged({}, file(llamacpp("a"))).config.log_filter);
  EXPECT_EQ(merged({}, file(llamacpp("a"), R"("log_filter":"debug")")).config.log_filter, "debug");
  ::setenv("INFERD_LOG", "===", 1);
  const auto effective = merged({}, file(llamacpp("a"), R"("log_filter":"debug")"));
  ::unsetenv("INFERD_LOG");
  EXPECT_EQ(effective.config.log_filter, "===") << "taken as it is: no error, as published";
  expect_source(effective, "log_filter", From::kEnvironment, "INFERD_LOG");
}

TEST(Effective, AnAccessListIsOfNoUseOnTcp) {
  const std::string access = R"("access":{"v1":{"users":["root"]},"v2":{}})";
  EXPECT_TRUE(merged({}, file(llamacpp("a"), access)).config.warnings.empty());
  const auto off = merged({"--v2-tcp", "127.0.0.1:0"}, file(llamacpp("a"), access));
  ASSERT_EQ(off.config.warnings.size(), 1u) << "v2 is off";
  EXPECT_EQ(off.config.warnings[0], "--v2-tcp has no effect here");
  for (const auto& effective : {merged({"--tcp", "127.0.0.1:0"}, file(llamacpp("a"), access)),
                                merged({}, file(llamacpp("a"), access + R"(,"listen":{"tcp":"127.0.0.1:1"})"))}) {
    ASSERT_EQ(effective.config.warnings.size(), 1u);
    EXPECT_TRUE(effective.config.warnings[0].starts_with("c.json: access.v1 has no effect: ")) << effective.config.warnings[0];
  }
}

TEST(Effective, OptionsWithoutEffectAreSaidToHaveNone) {
  EXPECT_EQ(merged({"--n-ctx", "5"}, file(kOpenai)).config.warnings, (std::vector<std::string>{"--n-ctx has no effect here"}));
  EXPECT_TRUE(merged({"--n-ctx", "5"}, file(llamacpp("a"))).config.warnings.empty());
}

TEST(Effective, ANamedFileThatIsMissingOrWrongIsAnErrorUnlessABackendIsNamedInstead) {
  char name[] = "/tmp/effective_test_XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  const fs::path path = fs::path(name) / "config.json";
  const auto load = [&] { return load_effective(options({"--config", path.c_str()})); };
  EXPECT_FALSE(load());
  const auto missing = load_effective(options({"--config", path.c_str(), "--backend", "mock"}));
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->config.warnings.size(), 1u);
  EXPECT_EQ(kind_of(missing->config.backends.at(0)), "mock");
  std::ofstream(path) << "{";
  EXPECT_FALSE(load());
  std::ofstream(path) << R"({"backends":[)" << llamacpp("a") << "]}";
  const auto loaded = load();
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(entry(*loaded).name, "a");
  fs::remove_all(name);
}

}  // namespace
}  // namespace inferd
