// The numbers that bound what a peer can make us hold. Plain constants.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace inferd {

inline constexpr size_t kMaxFrameBytes = 64u << 20;           // a line without its LF (spec 01 §2)
inline constexpr size_t kInlineParseBytes = 64u << 10;        // a longer frame is parsed on the pool (architecture §3)
inline constexpr size_t kMaxUnauthenticatedBytes = 4u << 10;  // TCP, before the auth frame (spec README 22)
inline constexpr int kAuthenticationSeconds = 5;
inline constexpr int kMaxJsonDepth = 127;                     // nested arrays and objects (spec 01 §2.3)
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopBytes = 256;
inline constexpr size_t kMaxGrammarBytes = 65'536;            // spec 08 §3.4
inline constexpr size_t kMaxGrammarBars = 4'096;
inline constexpr size_t kMaxGrammarNesting = 256;             // llama.cpp's parser recurses at "("
inline constexpr std::chrono::seconds kBatchAgeing{10};        // batch without service for so long: the oldest becomes interactive
inline constexpr size_t kAdminBacklogEvents = 256;            // a slower admin client is closed (spec 04 §5)
inline constexpr uint32_t kMaxEmbedDimensions = 65'536;         // spec README 7

}  // namespace inferd
