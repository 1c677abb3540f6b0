#include "os/system.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace inferd::os {
namespace {

// In a child: a mark like this one is for the whole life of a process.
TEST(PrepareProcess, NobodyElseReadsItsMemory) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    prepare_process();
    ::_exit(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "PR_GET_DUMPABLE is not 0";
}

}  // namespace
}  // namespace inferd::os
