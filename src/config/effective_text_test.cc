#include "config/effective_text.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>

#include "config/json_tree.h"

namespace inferd {
namespace {

const std::string kText = R"({"backends":[{"kind":"llamacpp","name":"chat","n_ctx":4096,"typo":1,"model":{"name":"m","sha256":")" +
                          std::string(64, 'a') + R"(","source_url":"https://u:SECRET@example.com/m?sig=SECRET"}},
    {"kind":"openai-compat","name":"o","base_url":"http://localhost:1","model":"gpt","api_key_env":"TEXT_TEST"}],
    "listen":{"tcp":"127.0.0.1:0","api_key_file":"/key"}})";

Effective effective(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "inferd-daemon");
  auto parsed = parse_command_line(static_cast<int>(arguments.size()), arguments.data());
  auto config = read_config(kText, "c.json");
  EXPECT_TRUE(parsed && config);
  auto merged = merge(*parsed->options, std::move(*config));
  EXPECT_TRUE(merged) << merged.error().message;
  return std::move(*merged);
}

Setting setting(const Effective& of, const std::string& path) {
  for (Setting& one : settings_of(of)) {
    if (one.path == path) return std::move(one);
  }
  ADD_FAILURE() << path;
  return {};
}

TEST(EffectiveText, EveryValueComesWithItsSource) {
  const auto of = effective({"--queue-depth", "3"});
  const auto expect = [&](const std::string& path, const std::string& value, const std::string& source) {
    const Setting found = setting(of, path);
    EXPECT_EQ(found.value, value) << path;
    EXPECT_EQ(describe(found.source), source) << path;
  };
  expect("limits.queue_depth", "3", "command line --queue-depth");
  expect("limits.drain_timeout_secs", "30", "default");
  expect("backends[0].kind", "\"llamacpp\"", "file c.json");
  expect("backends[0].n_ctx", "4096", "file c.json");
  expect("backends[0].parallel", "8", "default");
  expect("backends[0].kv_cells", "null", "default");
  expect("backends[0].model.source_url", "\"https://...@example.com/m?...\"", "file c.json");
  expect("listen.tcp", "\"127.0.0.1:0\"", "file c.json");
  expect("auto_pull", "true", "default");
}

TEST(EffectiveText, AnEmptyAccessListIsShownAsOne) {
  auto of = effective({});
  EXPECT_EQ(setting(of, "access.v1").value, "null");
  of.config.access.v1.emplace();
  EXPECT_EQ(setting(of, "access.v1").value, "{}");
  of.config.access.v1->users = {"alice", "1001"};
  of.sources["access.v1.users"] = {ValueSource::From::kFile, "c.json"};
  EXPECT_EQ(setting(of, "access.v1.users").value, "[\"alice\",\"1001\"]");
}

TEST(EffectiveText, TheLogFilterAndWhoSaysIt) {
  EXPECT_EQ(setting(effective({}), "log_filter").value, "\"info\"");
  ::setenv("INFERD_LOG", "debug", 1);
  const Setting found = setting(effective({}), "log_filter");
  ::unsetenv("INFERD_LOG");
  EXPECT_EQ(found.value, "\"debug\"");
  EXPECT_EQ(describe(found.source), "environment INFERD_LOG");
}

TEST(EffectiveText, KeysAreSetOrNotSet) {
  ::unsetenv("TEXT_TEST");
  EXPECT_EQ(setting(effective({}), "backends[1].api_key").value, "\"not set\"");
  ::setenv("TEXT_TEST", "SECRET", 1);
  const auto of = effective({"--api-key", "SECRET"});
  EXPECT_EQ(setting(of, "backends[1].api_key").value, "\"set\"");
  EXPECT_EQ(setting(of, "listen.api_key").value, "\"set\"");
  EXPECT_EQ(describe(setting(of, "listen.api_key").source), "command line --api-key");
  EXPECT_EQ(describe(setting(effective({}), "listen.api_key").source), "file /key");
  EXPECT_EQ(to_lines(of).find("SECRET"), std::string::npos);
  EXPECT_EQ(to_json(of).find("SECRET"), std::string::npos);
  ::unsetenv("TEXT_TEST");
}

TEST(EffectiveText, TheJsonIsJson) {
  const auto tree = parse_json_tree(to_json(effective({})));
  ASSERT_TRUE(tree) << tree.error().message;
  EXPECT_EQ(tree->keys, (std::vector<std::string>{"file", "settings", "warnings"}));
  EXPECT_EQ(tree->elements[0].text, "c.json");
  EXPECT_GT(tree->elements[1].elements.size(), 20u);
  EXPECT_EQ(tree->elements[2].elements.size(), 1u);
}

TEST(EffectiveText, LinesShowOneSettingEachAndThenTheWarnings) {
  const auto of = effective({});
  const std::string lines = to_lines(of);
  EXPECT_EQ(static_cast<size_t>(std::ranges::count(lines, '\n')), settings_of(of).size() + 1);
  EXPECT_NE(lines.find("warning: c.json: backends[0]: unknown field \"typo\" is ignored"), std::string::npos) << lines;
}

}  // namespace
}  // namespace inferd
