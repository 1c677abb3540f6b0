#include "config/options.h"

#include <gtest/gtest.h>
#include <stdlib.h>

namespace inferd {
namespace {

Result<ParsedCommandLine> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "inferd-daemon");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

// Sets a variable for the time of a test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }

 private:
  const char* name_;
};

TEST(Options, DefaultsOfTheTable) {
  const auto parsed = parse({"--lock", "X", "--tcp", "127.0.0.1:0"});
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->options->queue_depth, 10u);
  EXPECT_FALSE(parsed->options->active_permits);
  EXPECT_FALSE(parsed->options->v2);
  EXPECT_FALSE(parsed->options->embed);
  EXPECT_EQ(parsed->options->ready_timeout_secs, 30u);
}

TEST(Options, TransportsExcludeEachOther) {
  EXPECT_FALSE(parse({"--tcp", "127.0.0.1:0", "--uds", "/x"}));
  EXPECT_FALSE(parse({"--tcp", "127.0.0.1:0", "--pipe", "p"}));
  EXPECT_TRUE(parse({"--pipe", "p"}));
}

TEST(Options, V2AndEmbedAddressesExcludeEachOther) {
  EXPECT_TRUE(parse({"--v2", "--v2-tcp", "127.0.0.1:0"}));
  EXPECT_FALSE(parse({"--v2", "--v2-tcp", "127.0.0.1:0", "--v2-addr", "/x"}));
  EXPECT_FALSE(parse({"--embed", "--embed-tcp", "127.0.0.1:0", "--embed-addr", "/x"}));
}

TEST(Options, WhatALaterBuildBringsIsRemembered) {
  const auto parsed = parse({"--v2", "--bedrock-region", "r", "--openai-timeout-secs=5"});
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->options->not_in_this_build, (std::vector<std::string>{"--bedrock-region", "--openai-timeout-secs"}));
  EXPECT_TRUE(parsed->options->v2);
}

TEST(Options, EqualsFormEmptyValuesAndNegativeNumbers) {
  EXPECT_FALSE(parse({"--uds="})) << "an empty path is a usage error";
  const auto parsed = parse({"--api-key=", "--n-gpu-layers=-1"});
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->options->api_key, "");
  EXPECT_EQ(parsed->options->n_gpu_layers, -1);
}

TEST(Options, UsageErrors) {
  for (const auto& arguments : std::vector<std::vector<const char*>>{
           {"--queue-depth", "many"}, {"--queue-depth", "-1"}, {"--backend", "magic"}, {"positional"}, {"--no-such-option"}, {"--lock"}}) {
    const auto parsed = parse(arguments);
    ASSERT_FALSE(parsed) << arguments.front();
    EXPECT_EQ(parsed.error().code, Code::kUsage);
  }
}

TEST(Options, TheEnvironmentStandsInForTheCommandLine) {
  const Variable depth("INFERD_QUEUE_DEPTH", "7"), uds("INFERD_UDS", "/from/env");
  const auto parsed = parse({"--uds", "/from/line"});
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->options->queue_depth, 7u);
  EXPECT_EQ(parsed->options->uds, "/from/line");
}

TEST(Options, AVariableCountsForConflicts) {
  const Variable tcp("INFERD_TCP", "127.0.0.1:0");
  EXPECT_FALSE(parse({"--uds", "/x"}));
}

TEST(Options, AFlagsVariableIsTrueOrFalse) {
  {
    const Variable v2("INFERD_V2", "true");
    EXPECT_TRUE(parse({})->options->v2);
  }
  {
    const Variable v2("INFERD_V2", "false");
    EXPECT_FALSE(parse({})->options->v2);
  }
  for (const char* value : {"1", "yes", ""}) {
    const Variable v2("INFERD_V2", value);
    EXPECT_FALSE(parse({})) << value;
  }
}

TEST(Options, VerifyIsOneOfTwoWords) {
  EXPECT_EQ(parse({})->options->verify, "recorded");
  EXPECT_EQ(parse({"--verify", "always"})->options->verify, "always");
  EXPECT_FALSE(parse({"--verify", "never"}));
  const Variable verify("INFERD_VERIFY", "always");
  EXPECT_EQ(parse({})->options->verify, "always");
}

TEST(Options, TheLogFilterIsWhateverTheEnvironmentSays) {
  EXPECT_FALSE(parse({})->options->log_filter);
  for (const char* value : {"debug", "", "==="}) {
    const Variable filter("INFERD_LOG", value);
    EXPECT_EQ(parse({})->options->log_filter, value);
  }
}

TEST(Options, WipedKeysAreGoneAndKnownToHaveBeenGiven) {
  auto parsed = parse({"--api-key", "one", "--openai-api-key", "two", "--bedrock-bearer-token", "three", "--queue-depth", "5"});
  ASSERT_TRUE(parsed) << parsed.error().message;
  DaemonOptions& options = *parsed->options;
  EXPECT_EQ(options.api_key, "one");
  wipe_secrets(options);
  EXPECT_FALSE(options.api_key);
  EXPECT_FALSE(options.openai_api_key);
  EXPECT_FALSE(options.bedrock_bearer_token);
  for (const std::string_view name : kSecretOptions) EXPECT_TRUE(options.given.contains(name)) << name;
  EXPECT_EQ(options.queue_depth, 5u);
  wipe_secrets(options);
}

TEST(Options, SecretOptionsAreHiddenInHelp) {
  const std::string help = parse({"--help"})->text;
  for (const std::string_view name : kSecretOptions) EXPECT_EQ(help.find(name), std::string::npos) << name;
}

TEST(Options, HelpAndVersionAreTexts) {
  EXPECT_EQ(parse({"--version"})->text.find("inferd-daemon "), 0u);
  EXPECT_NE(parse({"--help"})->text.find("INFERD_QUEUE_DEPTH"), std::string::npos);
  EXPECT_EQ(parse({"--help"})->text.find("mock-tape"), std::string::npos);
}

}  // namespace
}  // namespace inferd
