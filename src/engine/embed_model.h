// What the embedder computes with: makes one vector of each text. LlamaEmbedModel is the real one; tests have one whose vectors can be told
// beforehand. Step thread, except tokenize(), fewest_tokens() and abort().
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/embed_batches.h"
#include "engine/sequence_table.h"

namespace inferd::engine {

class EmbedModel {
 public:
  virtual ~EmbedModel() = default;

  virtual uint32_t width() const = 0;  // components of a vector
  virtual uint32_t n_ctx() const = 0;  // longest input in tokens
  virtual BatchLimits limits() const = 0;

  /// With the model's special tokens around it; none is read out of the text. Any thread. kInvalidRequest: it cannot be done.
  virtual Result<std::vector<Token>> tokenize(std::string_view text) const = 0;
  /// A text of so many bytes has at least so many tokens; 0: nothing is known. Any thread.
  virtual size_t fewest_tokens(size_t bytes) const = 0;

  /// Within limits(), or a single input of at most n_ctx() tokens. False: ended by abort(). kBackendUnavailable: it could not be computed.
  virtual Result<bool> compute(std::span<const std::span<const Token>> inputs) = 0;
  /// [width] of the input at this place of the last compute(), not normalised; valid until the next one.
  virtual std::span<const float> embedding(size_t place) const = 0;
  /// Ends a running compute() soon, until it is allowed again. Any thread.
  virtual void abort(bool now) = 0;
};

}  // namespace inferd::engine
