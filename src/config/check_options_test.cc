#include "config/check_options.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <vector>

namespace inferd {
namespace {

const std::string kLlamacpp = R"({"kind":"llamacpp","name":"a","model":{"name":"m","sha256":")" + std::string(64, 'a') +
                              R"(","source_url":"https://example.com/m"}})";
const std::string kOpenai = R"({"kind":"openai-compat","name":"o","base_url":"http://localhost:1","model":"gpt"})";
const std::string kBedrock = R"({"kind":"bedrock-invoke","name":"b","region":"r","model_id":"m"})";

DaemonOptions options(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "inferd-daemon");
  auto parsed = parse_command_line(static_cast<int>(arguments.size()), arguments.data());
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed ? *parsed->options : DaemonOptions();
}

// The message, or "" if there is nothing to refuse.
std::string option_error(std::vector<const char*> arguments) {
  const auto checked = check_options(options(std::move(arguments)));
  return checked ? "" : checked.error().message;
}

std::string error_of(std::vector<const char*> arguments, const std::string& entries, const std::string& more = "") {
  auto config = read_config(R"({"backends":[)" + entries + "]" + (more.empty() ? "" : "," + more) + "}", "c.json");
  EXPECT_TRUE(config) << config.error().message;
  if (!config) return "";
  const auto effective = merge(options(std::move(arguments)), std::move(*config));
  EXPECT_TRUE(effective) << effective.error().message;
  const auto checked = effective ? check_effective(*effective) : Status();
  return checked ? "" : checked.error().message;
}

TEST(CheckOptions, WhatThisBuildHasNot) {
  EXPECT_EQ(option_error({}), "");
  EXPECT_EQ(option_error({"--v2", "--embed", "--embed-tcp", "127.0.0.1:0"}), "");
  EXPECT_EQ(option_error({"--openai-model", "m", "--bedrock-region", "r"}), "--bedrock-region, --openai-model: not in this build");
  EXPECT_EQ(option_error({"--backend", "openai-compat"}), "--backend openai-compat: not in this build");
  EXPECT_NE(option_error({"--pipe", "p"}).find("--uds"), std::string::npos);
  EXPECT_NE(option_error({"--n-gpu-layers", "1"}).find("no GPU support"), std::string::npos);
  EXPECT_EQ(option_error({"--n-gpu-layers=-1"}), "");
}

// Else the advice would be to give an option that this build has not.
TEST(CheckOptions, ComesBeforeTheFileIsRead) {
  const auto effective = load_effective(options({"--backend", "bedrock-invoke", "--config", "/nowhere/config.json"}));
  ASSERT_FALSE(effective);
  EXPECT_EQ(effective.error().message, "--backend bedrock-invoke: not in this build");
}

TEST(CheckEffective, EntriesOfKindsThatThisBuildHasNot) {
  EXPECT_EQ(error_of({}, kLlamacpp), "");
  EXPECT_EQ(error_of({}, kLlamacpp + "," + kOpenai), "c.json: backends[1].kind: \"openai-compat\": not in this build");
  EXPECT_EQ(error_of({}, kBedrock), "c.json: backends[0].kind: \"bedrock-invoke\": not in this build");
  EXPECT_EQ(error_of({"--backend", "mock"}, kBedrock), "") << "the mock stands alone";
}

TEST(CheckEffective, ATcpAddressBeyondLoopbackNeedsAKey) {
  EXPECT_EQ(error_of({"--tcp", "127.0.0.1:1"}, kLlamacpp), "");
  EXPECT_TRUE(error_of({"--tcp", "0.0.0.0:1"}, kLlamacpp).starts_with("--tcp 0.0.0.0:1 is not a loopback address: a key is needed"));
  EXPECT_TRUE(error_of({}, kLlamacpp, R"("listen":{"tcp":"10.0.0.1:1"})").starts_with("c.json: listen.tcp: 10.0.0.1:1 is not"));
  EXPECT_EQ(error_of({"--tcp", "0.0.0.0:1", "--api-key", "k"}, kLlamacpp), "");
  EXPECT_TRUE(error_of({}, kLlamacpp, R"("listen":{"tcp":"localhost:1"})").starts_with("c.json: listen.tcp: \"localhost:1\" is no socket"));
  EXPECT_EQ(error_of({"--tcp", "127.0.0.1:1", "--api-key="}, kLlamacpp), "--api-key is empty: give a key, or none");
  EXPECT_EQ(error_of({"--api-key="}, kLlamacpp), "") << "no TCP, no key";
}

TEST(CheckEffective, AnAddressOfV2OrEmbedIsCheckedWhereThatIsServed) {
  EXPECT_TRUE(error_of({"--v2", "--v2-tcp", "0.0.0.0:1"}, kLlamacpp).starts_with("--v2-tcp 0.0.0.0:1 is not a loopback address: a key is needed"));
  EXPECT_TRUE(error_of({"--embed"}, kLlamacpp, R"("listen":{"tcp_embed":"10.0.0.1:1"})").starts_with("c.json: listen.tcp_embed: 10.0.0.1:1 is not"));
  EXPECT_TRUE(error_of({"--embed", "--embed-tcp", "localhost:1"}, kLlamacpp).starts_with("--embed-tcp: \"localhost:1\" is no socket"));
  EXPECT_EQ(error_of({"--v2", "--v2-tcp", "0.0.0.0:1", "--api-key", "k"}, kLlamacpp), "");
  EXPECT_EQ(error_of({"--v2", "--v2-tcp", "127.0.0.1:1", "--api-key="}, kLlamacpp), "--api-key is empty: give a key, or none");
  EXPECT_EQ(error_of({"--v2-tcp", "0.0.0.0:1"}, kLlamacpp, R"("listen":{"tcp_embed":"10.0.0.1:1"})"), "") << "neither is on";
}

TEST(CheckEffective, AKeyThatIsNamedAndNotThere) {
  ::unsetenv("CHECK_OPTIONS_TEST");
  const std::string listen = R"("listen":{"tcp":"127.0.0.1:1","api_key_env":"CHECK_OPTIONS_TEST"})";
  EXPECT_EQ(error_of({}, kLlamacpp, listen), "c.json: listen.api_key_env: the variable CHECK_OPTIONS_TEST is not set");
  EXPECT_EQ(error_of({"--uds", "/x"}, kLlamacpp, listen), "");
}

TEST(CheckEffective, UsersAndGroupsThatDoNotExist) {
  EXPECT_NE(error_of({"--group", "no-such-group"}, kLlamacpp).find("no-such-group"), std::string::npos);
  EXPECT_EQ(error_of({}, kLlamacpp, R"("access":{"v1":{"users":["root"],"groups":["0"]},"v2":{},"embed":null})"), "");
  EXPECT_TRUE(error_of({}, kLlamacpp, R"("access":{"v1":{"users":["0","no-such-user"]}})")
                  .starts_with("c.json: access.v1.users[1]: no user \"no-such-user\""));
  EXPECT_TRUE(error_of({}, kLlamacpp, R"("access":{"embed":{"groups":["no-such-group"]}})")
                  .starts_with("c.json: access.embed.groups[0]: no group \"no-such-group\""));
}

}  // namespace
}  // namespace inferd
