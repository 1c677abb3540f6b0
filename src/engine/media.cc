#include "engine/media.h"

#if __has_include(<mtmd.h>)

#include <gguf.h>
#include <mtmd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <exception>
#include <string_view>
#include <utility>

#include "base/base64.h"
#include "base/json_text.h"
#include "base/utf8.h"
#include "engine/named_descriptor.h"
#include "os/input_file.h"

namespace inferd::engine {
namespace {

constexpr uint64_t kMostPixels = 1u << 25;  // more than a frame of 64 MiB can hold
constexpr uint32_t kLongestToShortest = 200;  // of an image's sides: beyond it, libmtmd's sizes and tables of positions do not hold
constexpr float kLoudest = 1e6f;  // nominal is 1; the square of a spectrum has to be a number
constexpr int kPaddedTo = 10;     // parts of a second: some of libmtmd's preprocessors assert that there are a few frames in each piece
constexpr size_t kNodesBetween = 16;  // of the projector's graph, between two questions whether it shall go on: a layer has some twenty
constexpr size_t kShownOfId = 100;    // bytes
constexpr uint32_t kLargeSide = 4096, kUsualSide = 512;  // pixels of images that are looked at without pixels
static_assert(std::endian::native == std::endian::little, "samples are taken as they come");

// libmtmd says on its log what is wrong with a file; of a request it would say things that belong into no log.
class ErrorLog {
 public:
  ErrorLog() { mtmd_log_set(&ErrorLog::collect, &text_); }
  ~ErrorLog() {
    mtmd_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  }
  ErrorLog(const ErrorLog&) = delete;
  ErrorLog& operator=(const ErrorLog&) = delete;

  /// The first error, which is the one that says it exactly, without the names of functions and of the descriptor.
  std::string first() const {
    std::string line = text_.substr(0, text_.find('\n'));
    for (const std::string_view before : {"': ", "error: "}) {
      if (const size_t at = line.find(before); at != std::string::npos) line.erase(0, at + before.size());
    }
    if (const size_t at = line.find(": "); at < line.find(' ')) line.erase(0, at + 2);
    return line.empty() ? "libmtmd does not say why" : line;
  }

 private:
  static void collect(ggml_log_level level, const char* text, void* to) {
    if (level == GGML_LOG_LEVEL_ERROR) static_cast<std::string*>(to)->append(text);
  }
  std::string text_;
};

mtmd_context_params projector_params(uint32_t threads, uint32_t image_max_tokens) {
  mtmd_context_params params = mtmd_context_params_default();
  params.use_gpu = false;
  params.print_timings = false;
  params.n_threads = static_cast<int>(threads);
  if (image_max_tokens > 0) params.image_max_tokens = static_cast<int>(image_max_tokens);
  return params;
}

// libmtmd reads weights without looking whether they are there.
Status check_file(int fd) {
  const auto file = os::input_stream(fd);
  if (!file) return std::unexpected(file.error());
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> gguf(gguf_init_from_file_ptr(file->get(), {.no_alloc = true, .ctx = nullptr}),
                                                                 &gguf_free);
  if (!gguf) return fail(Code::kIntegrity, "the projector cannot be loaded: it is no GGUF file, or is cut short");
  if (gguf_find_key(gguf.get(), "clip.has_vision_encoder") < 0 && gguf_find_key(gguf.get(), "clip.has_audio_encoder") < 0) {
    return fail(Code::kIntegrity, "the projector cannot be loaded: the file says nothing of images or sounds (is it another model?)");
  }
  uint64_t needed = gguf_get_data_offset(gguf.get());
  for (int64_t i = 0; i < gguf_get_n_tensors(gguf.get()); ++i) {
    const uint64_t end = gguf_get_data_offset(gguf.get()) + gguf_get_tensor_offset(gguf.get(), i) + gguf_get_tensor_size(gguf.get(), i);
    needed = std::max(needed, end);
  }
  const long length = std::fseek(file->get(), 0, SEEK_END) == 0 ? std::ftell(file->get()) : -1;
  if (length < 0 || static_cast<uint64_t>(length) < needed) {
    return fail(Code::kIntegrity, "the projector is cut short: it has " + std::to_string(length) + " bytes and needs " + std::to_string(needed));
  }
  return {};
}

std::string quoted_id(const Attachment& attachment) { return json_text(cut_utf8(attachment.id, kShownOfId)); }

std::string name_of(const Attachment& attachment) {
  const char* const kind = attachment.kind == MediaKind::kImage ? "image " : attachment.kind == MediaKind::kAudio ? "audio " : "video ";
  return kind + quoted_id(attachment);
}

Result<std::vector<unsigned char>> bytes_of(const Attachment& attachment) {
  std::vector<unsigned char> bytes;
  if (decode_base64(attachment.base64, bytes)) return bytes;
  return fail(Code::kInvalidRequest, "attachment: attachment base64 decode failed for " + quoted_id(attachment));
}

std::unexpected<Error> refused(const Attachment& attachment, const std::string& why) {
  return fail(Code::kInvalidRequest, "attachment: " + name_of(attachment) + ": " + why);
}

}  // namespace

// A bitmap and what it is known by.
struct MediaProjector::Medium {
  mtmd::bitmap bitmap;
  PrivateTokens::Digest digest;
};

MediaProjector::MediaProjector(const Model& model, const Options& options) : model_(model), options_(options), context_(nullptr, &mtmd_free) {}

// ---- loading

Result<std::unique_ptr<MediaProjector>> MediaProjector::open(int fd, const Model& model, const Options& options) {
  if (auto whole = check_file(fd); !whole) return std::unexpected(whole.error());
  std::unique_ptr<MediaProjector> projector(new MediaProjector(model, options));
  if (auto loaded = projector->load(fd, options.image_max_tokens); !loaded) return std::unexpected(loaded.error());
  if (projector->vision_ && mtmd_decode_use_non_causal(projector->context_.get(), nullptr)) {
    // An image has to be one batch: the projector is asked for smaller ones, if it has the choice.
    const auto parts = projector->image_parts(kLargeSide, false);
    if (!parts.empty() && std::ranges::max(parts) > options.batch_tokens) {
      if (auto loaded = projector->load(fd, options.batch_tokens); !loaded) return std::unexpected(loaded.error());
    }
  }
  projector->leave_out_what_cannot_be_used();
  return projector;
}

Status MediaProjector::load(int fd, uint32_t image_max_tokens) {
  const NamedDescriptor name(fd);
  const ErrorLog errors;
  mtmd_context_params params = projector_params(options_.threads, image_max_tokens);
  params.cb_eval = &MediaProjector::on_node;
  params.cb_eval_user_data = this;
  context_.reset();
  context_.reset(mtmd_init_from_file(name.path(), model_.get(), params));
  if (!context_) return fail(Code::kIntegrity, "the projector cannot be loaded: " + errors.first());
  vision_ = mtmd_support_vision(context_.get());
  audio_ = mtmd_support_audio(context_.get());
  sample_rate_ = audio_ ? mtmd_get_audio_sample_rate(context_.get()) : 0;
  return {};
}

void MediaProjector::leave_out_what_cannot_be_used() {
  const auto leave_out = [this](bool& what, const char* why) {
    if (!std::exchange(what, false)) return;
    warning_ += (warning_.empty() ? "" : "; ") + std::string(why);
  };
  if (mtmd_decode_use_mrope(context_.get())) {
    const char* const why = "the projector is not used: this release cannot count the positions of media in a model with M-RoPE";
    audio_ = audio_ && !vision_;  // said once
    leave_out(vision_, why);
    leave_out(audio_, why);
    context_.reset();
    return;
  }
  if (vision_ && image_parts(kUsualSide, false) != image_parts(kUsualSide, true)) {
    leave_out(vision_, "the projector takes no images: with this one they depend on where they stand in a prompt");
  }
  if (sample_rate_ <= 0) leave_out(audio_, "the projector takes no sound: the file does not say at which rate");
}

Result<uint64_t> MediaProjector::memory_needed(int fd, uint32_t image_max_tokens) {
  if (auto whole = check_file(fd); !whole) return std::unexpected(whole.error());
  const NamedDescriptor name(fd);
  const ErrorLog silence;
  uint64_t bytes = 0;
  for (const auto& [device, size] : mtmd_get_memory_usage(name.path(), projector_params(1, image_max_tokens))) bytes += size;
  return bytes;
}

// The tokens of each part that an image of this size would have: libmtmd takes sizes without pixels. Empty: it does not say.
std::vector<size_t> MediaProjector::image_parts(uint32_t side, bool behind_text) const {
  const mtmd::bitmap bitmap(mtmd_bitmap_init(side, side, nullptr));
  const mtmd_input_text text{.text = "a", .text_len = 1, .add_special = false, .parse_special = false};
  const mtmd_input_part before{.text = &text, .bitmap = nullptr}, image{.text = nullptr, .bitmap = bitmap.ptr.get()};
  const mtmd_input_part* const parts[] = {&before, &image};
  const mtmd::input_chunks chunks(mtmd_input_chunks_init());
  std::vector<size_t> tokens;
  const size_t first = behind_text ? 0 : 1;
  if (mtmd_tokenize_from_parts(context_.get(), chunks.ptr.get(), parts + first, std::size(parts) - first, false) != 0) return tokens;
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (mtmd_input_chunk_get_type(chunks[i]) == MTMD_INPUT_CHUNK_TYPE_IMAGE) tokens.push_back(mtmd_input_chunk_get_n_tokens(chunks[i]));
  }
  return tokens;
}

// ---- an attachment

Result<MediaTokens> MediaProjector::prepare(const Attachment& attachment) const {
  const bool image = attachment.kind == MediaKind::kImage;
  if (image ? !vision_ : attachment.kind != MediaKind::kAudio || !audio_) {
    return fail(Code::kAttachmentUnsupported, "attachment: " + name_of(attachment) + ": this model takes no " +
                                                  (image ? "images" : attachment.kind == MediaKind::kAudio ? "audio" : "video"));
  }
  try {
    const auto medium = image ? image_of(attachment) : sound_of(attachment);
    if (!medium) return std::unexpected(medium.error());
    return tokens_of(*medium, attachment);
  } catch (const std::exception& error) {  // memory
    return fail(Code::kInternal, "attachment: " + name_of(attachment) + ": " + error.what());
  }
}

Result<MediaProjector::Medium> MediaProjector::image_of(const Attachment& attachment) const {
  const auto [width, height] = std::pair(attachment.width, attachment.height);
  const std::string size = std::to_string(width) + " x " + std::to_string(height) + " pixels";
  auto bytes = bytes_of(attachment);
  if (!bytes) return std::unexpected(bytes.error());
  if (width == 0 || height == 0) return refused(attachment, size + " are no image");
  if (uint64_t{width} * height > kMostPixels) return refused(attachment, size + ", at most " + std::to_string(kMostPixels) + " in all");
  const uint64_t expected = uint64_t{width} * height * 3;
  if (bytes->size() != expected) {
    return refused(attachment, std::to_string(bytes->size()) + " bytes, expected width*height*3 = " + std::to_string(expected));
  }
  const auto [shorter, longer] = std::minmax(width, height);
  if (longer / shorter > kLongestToShortest || (longer / shorter == kLongestToShortest && longer % shorter != 0)) {
    return refused(attachment, size + ": one side is more than " + std::to_string(kLongestToShortest) + " times the other");
  }
  const uint32_t form[] = {static_cast<uint32_t>(attachment.kind), width, height};
  return Medium{mtmd::bitmap(width, height, bytes->data()), private_tokens_.digest(form, *bytes)};
}

Result<MediaProjector::Medium> MediaProjector::sound_of(const Attachment& attachment) const {
  if (attachment.sample_rate != static_cast<uint32_t>(sample_rate_)) {
    return refused(attachment, "its sample_rate is " + std::to_string(attachment.sample_rate) + " Hz, the model takes " +
                                   std::to_string(sample_rate_) + " Hz");
  }
  auto bytes = bytes_of(attachment);
  if (!bytes) return std::unexpected(bytes.error());
  if (bytes->size() % sizeof(float) != 0) {
    return fail(Code::kInvalidRequest,
                "attachment: chat template: audio attachment " + quoted_id(attachment) + ": byte length not a multiple of 4");
  }
  if (bytes->empty()) return refused(attachment, "it has no samples");
  for (size_t at = 0; at < bytes->size(); at += sizeof(float)) {
    float sample;
    std::memcpy(&sample, bytes->data() + at, sizeof sample);
    if (std::abs(sample) <= kLoudest) continue;
    const std::string which = "sample " + std::to_string(at / sizeof(float)) + " is ";
    return refused(attachment, which + (std::isfinite(sample) ? "far beyond the range of -1 to 1" : "not a finite number"));
  }
  const uint32_t form[] = {static_cast<uint32_t>(attachment.kind), attachment.sample_rate};
  const auto digest = private_tokens_.digest(form, *bytes);
  const size_t unit = static_cast<size_t>(std::max(1, sample_rate_ / kPaddedTo)) * sizeof(float);
  bytes->resize((bytes->size() + unit - 1) / unit * unit);  // with silence
  const auto* samples = reinterpret_cast<const float*>(bytes->data());  // which libmtmd copies as bytes
  return Medium{mtmd::bitmap(mtmd_bitmap_init_from_audio(bytes->size() / sizeof(float), samples)), digest};
}

Result<MediaTokens> MediaProjector::tokens_of(const Medium& medium, const Attachment& attachment) const {
  const mtmd_input_part part{.text = nullptr, .bitmap = medium.bitmap.ptr.get()};
  const mtmd_input_part* const parts[] = {&part};
  const std::shared_ptr<mtmd_input_chunks> chunks(mtmd_input_chunks_init(), &mtmd_input_chunks_free);
  if (mtmd_tokenize_from_parts(context_.get(), chunks.get(), parts, 1, false) != 0) return refused(attachment, "the projector cannot take it");
  MediaTokens out;
  for (size_t i = 0; i < mtmd_input_chunks_size(chunks.get()); ++i) {
    const mtmd_input_chunk* const chunk = mtmd_input_chunks_get(chunks.get(), i);
    size_t count = mtmd_input_chunk_get_n_tokens(chunk);
    if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
      const llama_token* const text = mtmd_input_chunk_get_tokens_text(chunk, &count);
      out.tokens.insert(out.tokens.end(), text, text + count);
      continue;
    }
    if (count == 0) return refused(attachment, "the projector makes nothing of it");
    if (std::cmp_not_equal(mtmd_input_chunk_get_n_pos(chunk), count)) {
      return refused(attachment, "the projector counts its positions in a way that is not supported");
    }
    const bool both_directions = mtmd_decode_use_non_causal(context_.get(), chunk);
    if (both_directions && count > options_.batch_tokens) {
      return refused(attachment, "it has " + std::to_string(count) + " tokens, at most " + std::to_string(options_.batch_tokens) +
                                     " can be seen at once");
    }
    const auto run = private_tokens_.run(medium.digest, static_cast<uint32_t>(i), count);
    std::shared_ptr<const MediaSpan> span(new MediaSpan(std::shared_ptr<const mtmd_input_chunk>(chunks, chunk), count, both_directions));
    out.spans.push_back({out.tokens.size(), count, std::move(span)});
    out.tokens.insert(out.tokens.end(), run.begin(), run.end());
  }
  if (out.spans.empty()) return refused(attachment, "the projector makes nothing of it");
  return out;
}

// ---- its rows

bool MediaProjector::on_node(ggml_tensor*, bool ask, void* self) {
  auto& projector = *static_cast<MediaProjector*>(self);
  if (ask) return projector.stopped_ || ++projector.nodes_ % kNodesBetween == 0;
  projector.stopped_ = projector.stopped_ || (projector.go_on_ != nullptr && !(*projector.go_on_)());
  return !projector.stopped_;
}

Decoder::Outcome MediaProjector::encode(const MediaSpan& span, const std::function<bool()>& go_on) {
  if (!span.rows_.empty()) return Decoder::Outcome::kComputed;
  go_on_ = &go_on;
  nodes_ = 0;
  stopped_ = false;
  const int32_t code = mtmd_encode_chunk(context_.get(), span.chunk_.get());
  go_on_ = nullptr;
  if (stopped_) return Decoder::Outcome::kAborted;
  if (code != 0) return Decoder::Outcome::kFailed;
  const float* const made = mtmd_get_output_embd(context_.get());
  const std::span rows(made, span.tokens() * static_cast<size_t>(llama_model_n_embd_inp(model_.get())));
  // What is not a number would spread to every sequence that shares cells with this one.
  if (!std::ranges::all_of(rows, [](float value) { return std::isfinite(value); })) return Decoder::Outcome::kFailed;
  span.rows_.assign(rows.begin(), rows.end());
  return Decoder::Outcome::kComputed;
}

}  // namespace inferd::engine

#endif
