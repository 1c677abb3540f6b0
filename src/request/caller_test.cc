#include "request/caller.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

// D27
TEST(Caller, TextForLogs) {
  EXPECT_EQ(Caller::tcp_peer("127.0.0.1:12345").text, "tcp:127.0.0.1:12345");
  EXPECT_EQ(Caller::tcp_peer("127.0.0.1:12345").pid, -1);
  EXPECT_EQ(Caller::unix_peer(1000, 100, 42).text, "unix:1000:42");
  EXPECT_EQ(Caller().text, "unix:-1:-1");
}

}  // namespace
}  // namespace inferd
