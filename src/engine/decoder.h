// What the step loop computes with: a context of cells that sequences own or share, and the few facts of the model that a step needs.
// LlamaDecoder is the real one; tests have one whose next token is a hash of its cells. Step thread, except abort().
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/sequence_table.h"

namespace inferd::engine {

class MediaSpan;

class Decoder {
 public:
  struct Input {
    Token token = 0;
    uint32_t position = 0;
    SequenceId sequence = -1;
    bool wants_logits = false;
  };
  /// A span of media, which is a batch of its own.
  struct MediaInput {
    const MediaSpan* media = nullptr;
    std::span<const Token> tokens;  // the private ones that stand for it
    uint32_t position = 0;          // of the first
    SequenceId sequence = -1;
    bool wants_logits = false;      // of the last
  };
  enum class Outcome {
    kComputed,
    kAborted,  // by abort(): nothing of the batch is left, as far as cut() could tell
    kNoCells,
    kFailed,
  };

  virtual ~Decoder() = default;

  virtual size_t batch_capacity() const = 0;  // tokens of one batch
  virtual Outcome compute(std::span<const Input> batch) = 0;
  /// What a span needs before compute_media(); again it costs nothing. It may take seconds, so `go_on` is asked on this thread, about once for
  /// each layer of the projector, and may compute batches of others meanwhile. False, or abort(): kAborted. Without media: nothing to do.
  virtual Outcome encode_media(const MediaSpan& /*media*/, const std::function<bool()>& /*go_on*/) { return Outcome::kComputed; }
  /// Whatever of it has been computed is in the cells also if it fails. Without media: kFailed.
  virtual Outcome compute_media(const MediaInput& /*input*/) { return Outcome::kFailed; }
  /// Of the input at this place of the last batch, which wanted them; of media, the place of the last token: [n_vocab], valid until the next
  /// compute().
  virtual const float* logits(size_t place) = 0;
  /// Ends a running compute() soon, until it is allowed again. Any thread.
  virtual void abort(bool now) = 0;

  /// `to`, which is empty, gets the first `length` cells of `from` too.
  virtual void share(SequenceId from, SequenceId to, size_t length) = 0;
  /// Keeps the first `length` cells only. False: this memory cannot; what is left is undefined until clear().
  virtual bool cut(SequenceId id, size_t length) = 0;
  virtual void clear(SequenceId id) = 0;
  /// The first position of which the cell is there; -1: none is.
  virtual int64_t first_position(SequenceId id) = 0;

  /// The whole sequence as bytes, and back into an empty one. Empty, false: it could not be done.
  virtual std::vector<uint8_t> save(SequenceId id) = 0;
  virtual bool restore(SequenceId id, std::span<const uint8_t> state) = 0;

  /// The state stands for all tokens and cannot be cut (recurrent and hybrid models).
  virtual bool is_recurrent() const = 0;
  /// Width of the sliding window in tokens; 0 without one.
  virtual size_t window() const = 0;

  virtual bool is_end(Token token) const = 0;
  /// Appends the token's bytes: not always whole characters.
  virtual void append_piece(Token token, std::string& out) const = 0;
};

}  // namespace inferd::engine
