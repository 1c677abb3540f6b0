#include "os/run_program.h"

#include <gtest/gtest.h>

namespace inferd::os {
namespace {

Result<ProgramEnd> shell(const std::string& script, size_t most_bytes = 1u << 20) { return run_program("/bin/sh", {"-c", script}, most_bytes); }

TEST(RunProgram, GivesBothOutputsAndTheExitCode) {
  const auto end = shell("echo out; echo err >&2; exit 3");
  ASSERT_TRUE(end);
  EXPECT_EQ(end->exit_code, 3);
  EXPECT_EQ(end->signal, "");
  EXPECT_EQ(end->out, "out\n");
  EXPECT_EQ(end->err, "err\n");
}

TEST(RunProgram, ArgumentsArriveAsTheyAreAndNothingIsOnStandardInput) {
  const auto end = run_program("/bin/sh", {"-c", "printf '%s|' \"$@\"; cat", "sh", "a b", "", "$c"});
  ASSERT_TRUE(end);
  EXPECT_EQ(end->out, "a b||$c|");
}

TEST(RunProgram, OutputBeyondTheBoundIsCutAndTheProgramStillEnds) {
  const auto end = shell("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; echo end >&2; exit 0", 1000);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->exit_code, 0);
  EXPECT_EQ(end->out.size(), 1000u);
  EXPECT_EQ(end->err.size(), 1000u);
}

TEST(RunProgram, ADeathBySignalIsToldByName) {
  const auto end = shell("kill -ABRT $$");
  ASSERT_TRUE(end);
  EXPECT_EQ(end->signal, "SIGABRT");
}

TEST(RunProgram, WhatCannotBeStartedIsNamed) {
  const auto end = run_program("/nowhere/program", {});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Code::kNotFound);
  EXPECT_NE(end.error().message.find("/nowhere/program"), std::string::npos);
}

}  // namespace
}  // namespace inferd::os
