// Images and sounds through libmtmd: the projector that belongs to a model, and what it makes of an attachment: rows that the decoder takes in
// place of tokens. Opened on the main thread, which owns it; prepare() is any thread's, encode() and rows() the step thread's.
//
// libmtmd does not check what it is given: it asserts. So nothing reaches it that has not been checked here, and an assertion that comes
// nevertheless ends this process as any other does. A llama.cpp without libmtmd: media_none.cc stands in for media.cc.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/decoder.h"
#include "engine/media_items.h"
#include "engine/model.h"
#include "request/content.h"

struct ggml_tensor;
struct mtmd_context;
struct mtmd_input_chunk;

namespace inferd::engine {

/// A part of a medium that is computed at once: an image, a tile of it, some seconds of a sound. Made by MediaProjector::prepare(); it must not
/// outlive the projector.
class MediaSpan {
 public:
  size_t tokens() const { return tokens_; }
  /// Its tokens see each other in both directions, so that they have to be one batch.
  bool both_directions() const { return both_directions_; }
  /// What encode() made, [tokens()][the model's width]; empty before that.
  std::span<const float> rows() const { return rows_; }
  /// Once they are in the cache nobody needs them.
  void drop_rows() const { rows_ = {}; }

 private:
  friend class MediaProjector;
  MediaSpan(std::shared_ptr<const mtmd_input_chunk> chunk, size_t tokens, bool both_directions)
      : chunk_(std::move(chunk)), tokens_(tokens), both_directions_(both_directions) {}

  std::shared_ptr<const mtmd_input_chunk> chunk_;  // owns all parts of the medium
  size_t tokens_;
  bool both_directions_;
  mutable std::vector<float> rows_;  // the step thread's
};

class MediaProjector {
 public:
  struct Options {
    uint32_t threads = 1;
    uint32_t image_max_tokens = 0;  // where the projector has a choice; 0: its own
    uint32_t batch_tokens = 512;    // of the decoder
  };

  /// Reads a projector from a descriptor, which stays the caller's and may be closed afterwards. kIntegrity: it is none, is cut short, or belongs
  /// to another model.
  static Result<std::unique_ptr<MediaProjector>> open(int fd, const Model& model, const Options& options);
  /// Bytes that open() will take, for the memory plan: weights, and what an image of usual size needs. No model has to be loaded. 0: it is no
  /// projector, and open() will say why.
  static Result<uint64_t> memory_needed(int fd, uint32_t image_max_tokens);

  bool vision() const { return vision_; }
  bool audio() const { return audio_; }
  int sample_rate() const { return sample_rate_; }  // Hz
  /// For the operator: what the file has and cannot be used, and why. Empty: nothing.
  const std::string& warning() const { return warning_; }

  /// kAttachmentUnsupported: this model takes no such thing. kInvalidRequest: its bytes are not what they should be. Both name the attachment.
  Result<MediaTokens> prepare(const Attachment& attachment) const;

  /// Makes the rows of a span. `go_on` is asked on this thread, about once for each layer; false ends it: kAborted. Seconds for a large image.
  Decoder::Outcome encode(const MediaSpan& span, const std::function<bool()>& go_on);

 private:
  struct Medium;
  MediaProjector(const Model& model, const Options& options);
  Status load(int fd, uint32_t image_max_tokens);
  void leave_out_what_cannot_be_used();
  std::vector<size_t> image_parts(uint32_t side, bool behind_text) const;
  Result<Medium> image_of(const Attachment& attachment) const;
  Result<Medium> sound_of(const Attachment& attachment) const;
  Result<MediaTokens> tokens_of(const Medium& medium, const Attachment& attachment) const;
  static bool on_node(ggml_tensor* node, bool ask, void* self);

  const Model& model_;
  const Options options_;
  std::unique_ptr<mtmd_context, void (*)(mtmd_context*)> context_;
  PrivateTokens private_tokens_;
  bool vision_ = false, audio_ = false;
  int sample_rate_ = 0;
  std::string warning_;
  // During encode():
  const std::function<bool()>* go_on_ = nullptr;
  size_t nodes_ = 0;
  bool stopped_ = false;
};

}  // namespace inferd::engine
