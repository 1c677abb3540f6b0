#include "engine/context_sizes.h"

#include <gtest/gtest.h>

namespace inferd::engine {
namespace {

void expect(ContextSizes wanted, uint32_t n_ctx_train, uint32_t n_ctx, uint32_t kv_cells) {
  const auto sizes = resolve_sizes(wanted, n_ctx_train);
  ASSERT_TRUE(sizes) << sizes.error().message;
  EXPECT_EQ(sizes->n_ctx, n_ctx);
  EXPECT_EQ(sizes->kv_cells, kv_cells);
}

TEST(ContextSizes, DefaultsComeFromTheModelAndTheNumberOfSequences) {
  expect({}, 32768, 8192, 16384);
  expect({}, 2048, 2048, 16384);
  expect({.sequences = 4}, 2048, 2048, 8192);
  expect({.sequences = 1}, 32768, 8192, 8192);
  expect({}, 0, 1, 256);  // a file that does not say what it was trained for
}

TEST(ContextSizes, WhatWasAskedForIsTaken) {
  expect({.n_ctx = 100'000}, 8192, 100'000, 100'096);
  expect({.n_ctx = 1000}, 8192, 1000, 8192);
  expect({.n_ctx = 4096, .kv_cells = 4096}, 8192, 4096, 4096);
  expect({.kv_cells = 1000}, 8192, 1024, 1024);
  expect({.kv_cells = 1}, 8192, 256, 256);
}

TEST(ContextSizes, ThePoolIsRoundedUpAndNeverOverflows) {
  expect({.kv_cells = 16385}, 8192, 8192, 16640);
  expect({.kv_cells = UINT32_MAX}, 8192, 8192, 1u << 30);
  expect({.n_ctx = UINT32_MAX, .sequences = 128}, 8192, 1u << 30, 1u << 30);
}

TEST(ContextSizes, WhatCannotBeIsRefusedByName) {
  const auto cells = resolve_sizes({.n_ctx = 2000, .kv_cells = 1000}, 8192);
  ASSERT_FALSE(cells);
  EXPECT_EQ(cells.error().code, Code::kUsage);
  EXPECT_NE(cells.error().message.find("--kv-cells 1000"), std::string::npos);
  EXPECT_NE(cells.error().message.find("--n-ctx 2000"), std::string::npos);
  EXPECT_FALSE(resolve_sizes({.sequences = kMostSequences + 1}, 8192));
  EXPECT_EQ(resolve_sizes({.sequences = 0}, 8192)->sequences, 1u);
}

TEST(ContextSizes, LlamaHasAnIdForEverySequence) {
  EXPECT_LE((ContextSizes{.sequences = kMostSequences}.sequence_ids()), llama_max_parallel_sequences());
  const auto params = context_params(*resolve_sizes({.sequences = 3, .kv_cells = 256, .threads = 2}, 8192));
  EXPECT_EQ(params.n_ctx, 256u);
  EXPECT_EQ(params.n_batch, 256u);
  EXPECT_EQ(params.n_seq_max, 6u);
  EXPECT_EQ(params.n_threads, 2);
  EXPECT_TRUE(params.kv_unified);
}

}  // namespace
}  // namespace inferd::engine
