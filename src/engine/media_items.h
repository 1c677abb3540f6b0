// Images and sounds in a prompt. A prompt is a list of tokens; a medium is a run of private ones, negative and made from what it is, so that the
// prefix cache treats equal media like equal text. What such a run stands for is computed together: it is never cut.
// Pure, without llama.cpp; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/sequence_table.h"

namespace inferd::engine {

class MediaSpan;

/// A run of private tokens in a prompt, and what the decoder computes in its place.
struct PromptSpan {
  size_t begin = 0;
  size_t length = 0;  // tokens, at least 1
  std::shared_ptr<const MediaSpan> media;

  size_t end() const { return begin + length; }
};

/// What an attachment is in a prompt: the texts that its model wants around it, and runs of private tokens. Spans stand in order and count from
/// the first of these tokens.
struct MediaTokens {
  std::vector<Token> tokens;
  std::vector<PromptSpan> spans;
};

void append(const MediaTokens& media, std::vector<Token>& prompt, std::vector<PromptSpan>& spans);

/// Of a beginning of `length` tokens: what is left without a span that would be cut.
size_t whole_spans(size_t length, std::span<const PromptSpan> spans);

/// The span that begins there; nullptr: a token of text does.
const PromptSpan* span_at(size_t position, std::span<const PromptSpan> spans);

/// Where text that begins at `position` ends: at the next span, or at `end`.
size_t end_of_text(size_t position, size_t end, std::span<const PromptSpan> spans);

/// Makes private tokens with a key that nobody knows, so that no caller can make media of two kinds meet. A run of n tokens has 31 n bits of
/// the content's hash.
class PrivateTokens {
 public:
  using Key = std::array<unsigned char, 32>;
  using Digest = std::array<unsigned char, 32>;

  PrivateTokens();  // a random key
  explicit PrivateTokens(const Key& key) : key_(key) {}

  /// Of a medium: `form` is all that is not in its bytes (its kind, its sizes).
  Digest digest(std::span<const uint32_t> form, std::span<const unsigned char> bytes) const;
  /// The run of `count` tokens for the part of that number of a medium.
  std::vector<Token> run(const Digest& digest, uint32_t part, size_t count) const;

 private:
  Digest keyed_hash(std::span<const unsigned char> bytes) const;
  Key key_{};
};

}  // namespace inferd::engine
