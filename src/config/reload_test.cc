#include "config/reload.h"

#include <gtest/gtest.h>
#include <stdlib.h>

namespace inferd {
namespace {

std::string llamacpp(const std::string& name, const std::string& more = "") {
  return R"({"kind":"llamacpp","name":")" + name + R"(","model":{"name":"m","sha256":")" + std::string(64, 'a') +
         R"(","source_url":"https://u:one@example.com/m"})" + (more.empty() ? "" : "," + more) + "}";
}
const std::string kOpenai = R"({"kind":"openai-compat","name":"o","base_url":"http://localhost:1","model":"gpt"})";

Effective effective(const std::string& entries, const std::string& more = "", std::vector<const char*> arguments = {}) {
  arguments.insert(arguments.begin(), "inferd-daemon");
  auto parsed = parse_command_line(static_cast<int>(arguments.size()), arguments.data());
  auto config = read_config(R"({"backends":[)" + entries + "]" + (more.empty() ? "" : "," + more) + "}", "c.json");
  EXPECT_TRUE(parsed) << parsed.error().message;
  EXPECT_TRUE(config) << config.error().message;
  auto merged = merge(std::move(*parsed->options), std::move(*config));
  EXPECT_TRUE(merged) << merged.error().message;
  return std::move(*merged);
}

using Paths = std::vector<std::string>;

TEST(Reload, TheSameConfigurationChangesNothing) {
  const auto running = effective(llamacpp("a") + "," + kOpenai, R"("listen":{"tcp":"127.0.0.1:1"},"limits":{"queue_depth":3})");
  const ReloadPlan plan = compare(running, running);
  EXPECT_EQ(plan.needs_restart, Paths());
  EXPECT_EQ(plan.limits.queue_depth, 3u);
  EXPECT_EQ(plan.log_filter, "info");
}

TEST(Reload, LimitsAndTheLogFilterChangeAtOnce) {
  const auto running = effective(llamacpp("a"));
  const auto fresh = effective(llamacpp("a"), R"("limits":{"queue_depth":3,"drain_timeout_secs":4,"write_timeout_secs":5,
      "max_buffered_bytes":6,"ready_timeout_secs":7},"log_filter":"warn,engine=debug")");
  const ReloadPlan plan = compare(running, fresh);
  EXPECT_EQ(plan.needs_restart, Paths());
  EXPECT_EQ(plan.limits.queue_depth, 3u);
  EXPECT_EQ(plan.limits.drain_timeout_secs, 4u);
  EXPECT_EQ(plan.limits.write_timeout_secs, 5u);
  EXPECT_EQ(plan.limits.max_buffered_bytes, 6u);
  EXPECT_EQ(plan.log_filter, "warn,engine=debug");
  EXPECT_EQ(compare(fresh, running).limits.queue_depth, 10u) << "a field that was taken out is its default again";
}

TEST(Reload, WhatTheCommandLineAndTheEnvironmentSayStays) {
  ::setenv("INFERD_LOG", "trace", 1);
  ::setenv("INFERD_DRAIN_TIMEOUT_SECS", "8", 1);
  const std::vector<const char*> arguments = {"--queue-depth", "9", "--n-ctx", "512", "--uds", "/x"};
  const auto running = effective(llamacpp("a"), "", arguments);
  const auto fresh = effective(llamacpp("a", R"("n_ctx":1024)"), R"("limits":{"queue_depth":3,"drain_timeout_secs":4},
      "log_filter":"off","listen":{"tcp":"127.0.0.1:1"})", arguments);
  ::unsetenv("INFERD_LOG");
  ::unsetenv("INFERD_DRAIN_TIMEOUT_SECS");
  const ReloadPlan plan = compare(running, fresh);
  EXPECT_EQ(plan.limits.queue_depth, 9u);
  EXPECT_EQ(plan.limits.drain_timeout_secs, 8u);
  EXPECT_EQ(plan.log_filter, "trace");
  EXPECT_EQ(plan.needs_restart, Paths()) << "the effective values are the same";
}

TEST(Reload, EverythingElseIsNamedByItsPath) {
  const auto running = effective(llamacpp("a") + "," + llamacpp("b"), R"("access":{"v1":{"users":["root"]}})");
  const auto fresh = effective(llamacpp("a", R"("n_ctx":512,"sandbox":"off")") + "," + llamacpp("c"),
                               R"("auto_pull":false,"verify":"always","listen":{"api_key_file":"/k"},
      "access":{"v1":{"users":["root","1"]},"embed":{}})");
  EXPECT_EQ(compare(running, fresh).needs_restart,
            (Paths{"auto_pull", "listen.api_key_file", "access.v1.users", "access.embed", "verify", "backends[0].n_ctx",
                   "backends[0].sandbox", "backends[1].name"}));
}

// --check-config shows less than there is of a URL: a comparison of what it shows would miss this.
TEST(Reload, SecretsInUrlsAndTheEndsOfLongTextsAreCompared) {
  const auto running = effective(llamacpp("a"));
  auto fresh = running;
  std::get<LlamacppEntry>(fresh.config.backends[0]).model.source_url = "https://u:two@example.com/m";
  EXPECT_EQ(compare(running, fresh).needs_restart, Paths{"backends[0].model.source_url"});
  fresh = running;
  fresh.config.models_home = std::string(200, 'a');
  auto other = fresh;
  other.config.models_home->back() = 'b';
  EXPECT_EQ(compare(fresh, other).needs_restart, Paths{"models_home"});
}

TEST(Reload, EntriesThatCameWentOrAreOfAnotherKind) {
  const auto one = effective(llamacpp("a"));
  const auto two = effective(llamacpp("a") + "," + kOpenai);
  const auto other = effective(kOpenai);
  EXPECT_EQ(compare(one, two).needs_restart, Paths{"backends[1]"});
  EXPECT_EQ(compare(two, one).needs_restart, Paths{"backends[1]"});
  EXPECT_EQ(compare(one, other).needs_restart, Paths{"backends[0]"});
}

}  // namespace
}  // namespace inferd
