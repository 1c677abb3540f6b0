#include "os/memory.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

namespace inferd::os {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMiB = 1u << 20;

// A tree as the kernel shows it.
class Tree : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/memory_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root_ = name;
    write("proc/meminfo", "MemTotal:       8000 kB\nMemFree:        100 kB\nMemAvailable:   " + std::to_string(4096 * 1024) + " kB\n");
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void group(const std::string& folder, const std::string& max, uint64_t current_mib, uint64_t cache_mib) {
    write("cgroup" + folder + "/memory.max", max + "\n");
    write("cgroup" + folder + "/memory.high", "max\n");
    write("cgroup" + folder + "/memory.current", std::to_string(current_mib * kMiB) + "\n");
    write("cgroup" + folder + "/memory.stat", "anon 17\nfile 99\ninactive_file " + std::to_string(cache_mib * kMiB) + "\nactive_file 0\n");
  }
  MemoryAvailable available() { return available_memory(root_ / "proc", root_ / "cgroup"); }
  void expect(uint64_t mib, const std::string& limited_by) {
    const auto got = available();
    EXPECT_EQ(got.bytes, mib * kMiB);
    EXPECT_EQ(got.limited_by, limited_by);
  }

  fs::path root_;
};

std::string mib(uint64_t count) { return std::to_string(count * kMiB); }

TEST_F(Tree, WithoutCgroupsItIsTheMachinesFreeMemory) {
  expect(4096, "free memory");
  write("proc/self/cgroup", "0::/nowhere/to/be/found\n");
  expect(4096, "free memory");
}

TEST_F(Tree, TheTightestGroupAboveTheProcessCounts) {
  write("proc/self/cgroup", "0::/user.slice/inferd.service\n");
  group("/user.slice/inferd.service", mib(2000), 500, 0);
  expect(1500, "cgroup /user.slice/inferd.service memory.max");
  group("/user.slice", mib(1000), 600, 0);
  expect(400, "cgroup /user.slice memory.max");
  group("/user.slice", "max", 600, 0);
  expect(1500, "cgroup /user.slice/inferd.service memory.max");
  group("", mib(100), 40, 0);  // a container: its own group is the root that it sees
  expect(60, "cgroup / memory.max");
}

TEST_F(Tree, CachesOfFilesAreFreeAndAnOverfullGroupHasNothing) {
  write("proc/self/cgroup", "0::/a\n");
  group("/a", mib(1000), 900, 300);
  expect(400, "cgroup /a memory.max");
  group("/a", mib(1000), 1200, 100);
  expect(0, "cgroup /a memory.max");
  group("/a", mib(1000), 50, 80);  // read at different moments
  expect(1000, "cgroup /a memory.max");
}

TEST_F(Tree, TheThrottleOfAGroupCountsLikeItsLimit) {
  write("proc/self/cgroup", "0::/a\n");
  group("/a", mib(1000), 100, 0);
  write("cgroup/a/memory.high", mib(600));
  expect(500, "cgroup /a memory.high");
}

TEST_F(Tree, TheFirstVersionOfCgroupsIsUnderstood) {
  write("proc/self/cgroup", "9:name=systemd:/\n4:hugetlb,memory:/docker/a1\n1:cpu:/x\n0::/\n");
  const std::string folder = "cgroup/memory/docker/a1/";
  write(folder + "memory.limit_in_bytes", mib(800));
  write(folder + "memory.usage_in_bytes", mib(700));
  write(folder + "memory.stat", "cache 1\nactive_file 4096\ntotal_inactive_file " + mib(100) + "\ntotal_active_file " + mib(50) + "\n");
  expect(250, "cgroup /docker/a1 memory.limit_in_bytes");
  write(folder + "memory.limit_in_bytes", "9223372036854771712\n");  // what v1 says for "none"
  expect(4096, "free memory");
}

TEST_F(Tree, BothVersionsSideBySide) {
  write("proc/self/cgroup", "0::/a\n");
  group("/unified/a", mib(300), 0, 0);
  expect(300, "cgroup /a memory.max");
}

TEST_F(Tree, WhatCannotBeReadForbidsNothing) {
  fs::remove_all(root_ / "proc");
  EXPECT_EQ(available().bytes, UINT64_MAX);
}

TEST(Memory, FilesOfTheKernelAreReadStrictly) {
  EXPECT_EQ(parse_mem_available("MemAvailable:\t12 kB\n"), 12u * 1024);
  EXPECT_EQ(parse_mem_available("MemAvailable: 12 kB"), 12u * 1024);
  EXPECT_EQ(parse_mem_available("MemAvailable: x\n"), std::nullopt);
  EXPECT_EQ(parse_mem_available("XMemAvailable: 12 kB\n"), std::nullopt);
  EXPECT_EQ(parse_mem_available(""), std::nullopt);
  EXPECT_EQ(parse_bytes("123\n"), 123u);
  EXPECT_EQ(parse_bytes("max\n"), std::nullopt);
  EXPECT_EQ(parse_bytes(""), std::nullopt);
  EXPECT_EQ(parse_bytes("99999999999999999999999\n"), UINT64_MAX);
  EXPECT_EQ(parse_file_cache("inactive_file 3\nactive_file 4\nslab 100"), 7u);
  EXPECT_EQ(parse_file_cache("inactive_file\nactive_file x\n"), 0u);
}

TEST(Memory, ThePlaceInEachHierarchyIsFound) {
  const auto paths = parse_cgroups("12:cpuset:/x\n4:memory:/process/7:b\n0::/user.slice\n");
  EXPECT_EQ(paths.unified, "/user.slice");
  EXPECT_EQ(paths.memory, "/process/7:b");
  EXPECT_FALSE(parse_cgroups("no lines\n::\n3:memory:relative\n").memory);
  EXPECT_FALSE(parse_cgroups("").unified);
}

TEST(Memory, ThisMachineHasSome) {
  const auto here = available_memory();
  EXPECT_GT(here.bytes, 0u);
  EXPECT_FALSE(here.limited_by.empty());
}

}  // namespace
}  // namespace inferd::os
