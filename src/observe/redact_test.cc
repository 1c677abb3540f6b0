#include "observe/redact.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inferd {
namespace {

std::string redacted(std::string line) {
  Redactor().redact(line);
  return line;
}

TEST(Redact, EachKindOfSecretIsReplacedByItsMarker) {
  EXPECT_EQ(redacted("x eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl y"), "x [REDACTED:jwt] y");
  EXPECT_EQ(redacted("key sk-abcdefghij0123456789"), "key [REDACTED:api-key]");
  EXPECT_EQ(redacted("Authorization: Bearer abcdefgh12345"), "[REDACTED:auth-header]");
  EXPECT_EQ(redacted("password=hunter22 next"), "[REDACTED:secret-kv] next");
  EXPECT_EQ(redacted("id AKIAIOSFODNN7EXAMPLE"), "id [REDACTED:aws-access]");
  EXPECT_EQ(redacted("id ASIAIOSFODNN7EXAMPLE"), "id [REDACTED:aws-session]");
  EXPECT_EQ(redacted("ghp_abcdefghijklmnopqrstuv"), "[REDACTED:api-key]");
  EXPECT_EQ(redacted("xoxb-1234567890-abc"), "[REDACTED:api-key]");
  EXPECT_EQ(redacted("pat-abcdefghijklmnop0"), "[REDACTED:api-key]");
  EXPECT_EQ(redacted("thingspat_abcdefghijklmnop0"), "[REDACTED:api-key]");
}

TEST(Redact, SeveralSecretsOnOneLine) {
  EXPECT_EQ(redacted("token=abcd1234 and AKIAIOSFODNN7EXAMPLE"), "[REDACTED:secret-kv] and [REDACTED:aws-access]");
}

TEST(Redact, JsonQuotedKeysAndKeysWithHyphens) {
  EXPECT_EQ(redacted(R"({"password":"hunter22"})"), R"({"[REDACTED:secret-kv]"})");
  EXPECT_EQ(redacted(R"({"msg":"{\"api_key\":\"abcd1234\"}"})"), R"({"msg":"{\"[REDACTED:secret-kv]\"}"})");
  EXPECT_EQ(redacted("sk-proj-abcdefghij0123456789"), "[REDACTED:api-key]");
}

// Spec 06 §10 item 8
TEST(Redact, QuotedKeysHoweverOftenTheyAreEscaped) {
  EXPECT_EQ(redacted(R"({"authorization": "Bearer abcdefgh12345"})"), R"({"[REDACTED:auth-header]"})");
  EXPECT_EQ(redacted(R"(\"Authorization\": \"basic YWxhZGRpbjpv\")"), R"(\"[REDACTED:auth-header]\")");
  EXPECT_EQ(redacted(R"({\"password\" : \"hunter22\"})"), R"({\"[REDACTED:secret-kv]\"})");
  EXPECT_THAT(redacted(R"("{\\\"token\\\":\\\"hunter22\\\"}")"), ::testing::Not(::testing::HasSubstr("hunter")));
  EXPECT_EQ(redacted("{'api-key': 'hunter22'}"), "{'[REDACTED:secret-kv]}");
  EXPECT_EQ(redacted(R"({"password":"abc"})"), R"({"password":"abc"})");  // the rule begins at four characters
}

TEST(Redact, AValueIsTakenToItsEnd) {
  EXPECT_EQ(redacted(R"(password=hun\ter22 next)"), "[REDACTED:secret-kv] next");
  EXPECT_EQ(redacted(R"(pwd=a\b\c\d&x=1)"), "[REDACTED:secret-kv]&x=1");
  EXPECT_EQ(redacted("SECRET = hunter22,other"), "[REDACTED:secret-kv],other");
}

TEST(Redact, ApiKeysWithHyphensAnywhere) {
  for (const char* key : {"sk-ant-api03-Ab_c-defGHI-jkl0123", "sk-proj-abcdefghij0123456789-xyz", "sk-a-b-c-d-e-f-g-h-i",
                          "sk-svcacct-AAAA-bbbb_CCCC-d"}) {
    EXPECT_EQ(redacted("key=(" + std::string(key) + ")"), "key=([REDACTED:api-key])");
  }
}

TEST(Redact, KeysThatFollowALetterDirectly) {
  EXPECT_EQ(redacted("xghp_abcdefghijklmnopqrstuv"), "x[REDACTED:api-key]");
  EXPECT_EQ(redacted("idAKIAIOSFODNN7EXAMPLE"), "id[REDACTED:aws-access]");
}

TEST(Redact, ALongHostileTextTakesLinearTime) {
  std::string line;
  for (int i = 0; i < 20'000; ++i) line += "password\\\\\" sk-a- eyJa.eyJ";
  EXPECT_EQ(redacted(line), line);
}

TEST(Redact, OrdinaryTextStaysAsItIs) {
  for (const char* line : {"the quick brown fox", R"({"component":"activity","prompt_tokens":12,"msg":"request_done"})",
                           "version=0.1.0-alpha.0", "bytes=42", "task-list and risk-free"}) {
    EXPECT_EQ(redacted(line), line);
  }
}

}  // namespace
}  // namespace inferd
