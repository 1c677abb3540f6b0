#include "engine/media.h"

#if !__has_include(<mtmd.h>)

namespace inferd::engine {

MediaProjector::MediaProjector(const Model& model, const Options& options)
    : model_(model), options_(options), context_(nullptr, [](mtmd_context*) {}) {}

Result<std::unique_ptr<MediaProjector>> MediaProjector::open(int, const Model&, const Options&) {
  return fail(Code::kNotInThisBuild, "a projector was given, and this build has no libmtmd");
}

Result<uint64_t> MediaProjector::memory_needed(int, uint32_t) { return 0; }

Result<MediaTokens> MediaProjector::prepare(const Attachment&) const {
  return fail(Code::kAttachmentUnsupported, "attachment: this build takes no images and no sounds");
}

Decoder::Outcome MediaProjector::encode(const MediaSpan&, const std::function<bool()>&) { return Decoder::Outcome::kFailed; }

}  // namespace inferd::engine

#endif
