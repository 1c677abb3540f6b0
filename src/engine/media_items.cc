#include "engine/media_items.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <new>

namespace inferd::engine {
namespace {

constexpr uint32_t kPrivate = 1u << 31;  // the sign: no vocabulary has it

void put(std::vector<unsigned char>& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<unsigned char>(value >> shift));
}

uint32_t get(const unsigned char* at) {
  return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 | static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24;
}

// The first span that ends behind `position`.
auto first_behind(size_t position, std::span<const PromptSpan> spans) {
  return std::ranges::upper_bound(spans, position, {}, [](const PromptSpan& span) { return span.end(); });
}

}  // namespace

void append(const MediaTokens& media, std::vector<Token>& prompt, std::vector<PromptSpan>& spans) {
  const size_t offset = prompt.size();
  prompt.insert(prompt.end(), media.tokens.begin(), media.tokens.end());
  for (const PromptSpan& span : media.spans) spans.push_back({offset + span.begin, span.length, span.media});
}

size_t whole_spans(size_t length, std::span<const PromptSpan> spans) {
  const auto at = first_behind(length, spans);
  return at != spans.end() ? std::min(length, at->begin) : length;
}

const PromptSpan* span_at(size_t position, std::span<const PromptSpan> spans) {
  const auto at = first_behind(position, spans);
  return at != spans.end() && at->begin == position ? &*at : nullptr;
}

size_t end_of_text(size_t position, size_t end, std::span<const PromptSpan> spans) {
  const auto at = first_behind(position, spans);
  return at != spans.end() ? std::min(end, at->begin) : end;
}

PrivateTokens::PrivateTokens() {
  if (RAND_bytes(key_.data(), static_cast<int>(key_.size())) != 1) throw std::bad_alloc();  // no other failure: the system has random bytes
}

PrivateTokens::Digest PrivateTokens::keyed_hash(std::span<const unsigned char> bytes) const {
  Digest out{};
  unsigned length = 0;
  const auto* made = HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), bytes.data(), bytes.size(), out.data(), &length);
  if (made == nullptr || length != out.size()) throw std::bad_alloc();
  return out;
}

PrivateTokens::Digest PrivateTokens::digest(std::span<const uint32_t> form, std::span<const unsigned char> bytes) const {
  const Digest content = keyed_hash(bytes);  // by itself: no copy of what may be 48 MiB
  std::vector<unsigned char> all(content.begin(), content.end());
  for (const uint32_t value : form) put(all, value);
  return keyed_hash(all);
}

std::vector<Token> PrivateTokens::run(const Digest& digest, uint32_t part, size_t count) const {
  std::vector<Token> tokens;
  tokens.reserve(count);
  for (uint32_t block = 0; tokens.size() < count; ++block) {
    std::vector<unsigned char> seed(digest.begin(), digest.end());
    put(seed, part);
    put(seed, block);
    const Digest bits = keyed_hash(seed);
    for (size_t at = 0; at < bits.size() && tokens.size() < count; at += 4) tokens.push_back(static_cast<Token>(get(bits.data() + at) | kPrivate));
  }
  return tokens;
}

}  // namespace inferd::engine
