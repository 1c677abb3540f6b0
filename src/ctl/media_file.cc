#include "ctl/media_file.h"

#include <png.h>
#include <sndfile.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/size_text.h"
#include "os/input_file.h"

namespace inferd::ctl {
namespace {

using namespace std::string_view_literals;

constexpr size_t kMaxFileBytes = 256u << 20;  // the largest image that fits a request needs half of it in 16 bits with alpha, uncompressed
constexpr std::string_view kPngBegins = "\x89PNG\r\n\x1a\n"sv;
constexpr std::string_view kJpegBegins = "\xFF\xD8\xFF"sv;
constexpr png_color kWhite = {255, 255, 255};
constexpr sf_count_t kChunkFrames = 4096;

std::unexpected<Error> undecodable(const std::string& name, const std::string& format, const char* why) {
  return fail(Code::kIntegrity, name + ": cannot be decoded as " + format + ": " + why);
}

std::unexpected<Error> too_large(const std::string& name, const std::string& what, uint64_t bytes, size_t max_bytes) {
  return fail(Code::kUsage, name + ": " + what + " are " + size_text(bytes) + ", and the request has room for " + size_text(max_bytes) +
                                ": make it smaller");
}

Status check_pixels(const std::string& name, uint32_t width, uint32_t height, size_t max_bytes) {
  const uint64_t bytes = uint64_t{width} * height * 3;  // neither format has sides of 2^31
  if (bytes <= max_bytes) return {};
  return too_large(name, std::to_string(width) + " x " + std::to_string(height) + " pixels", bytes, max_bytes);
}

// The simplified interface of libpng: it keeps its longjmp to itself.
Result<client::ImagePart> decode_png(std::string_view bytes, const std::string& name, size_t max_bytes) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, void (*)(png_image*)> freed(&image, &png_image_free);
  if (!png_image_begin_read_from_memory(&image, bytes.data(), bytes.size())) return undecodable(name, "PNG", image.message);
  if (auto checked = check_pixels(name, image.width, image.height, max_bytes); !checked) return std::unexpected(checked.error());
  image.format = PNG_FORMAT_RGB;
  client::ImagePart part{.width = image.width, .height = image.height, .rgb = {}};
  part.rgb.resize(PNG_IMAGE_SIZE(image));
  if (!png_image_finish_read(&image, &kWhite, part.rgb.data(), 0, nullptr)) return undecodable(name, "PNG", image.message);
  return part;
}

Result<client::ImagePart> decode_jpeg(std::string_view bytes, const std::string& name, size_t max_bytes) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), &tjDestroy);
  if (!decoder) return undecodable(name, "JPEG", tjGetErrorStr2(nullptr));
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  int width = 0, height = 0, subsampling = 0, colorspace = 0;  // the sizes stay 0 if there are tables only
  if (tjDecompressHeader3(decoder.get(), data, bytes.size(), &width, &height, &subsampling, &colorspace) != 0) {
    return undecodable(name, "JPEG", tjGetErrorStr2(decoder.get()));
  }
  if (width <= 0 || height <= 0) return undecodable(name, "JPEG", "there is no image in it");
  client::ImagePart part{.width = static_cast<uint32_t>(width), .height = static_cast<uint32_t>(height), .rgb = {}};
  if (auto checked = check_pixels(name, part.width, part.height, max_bytes); !checked) return std::unexpected(checked.error());
  part.rgb.resize(size_t{part.width} * part.height * 3);
  // Its warnings are of files that were cut or damaged, which it fills up with grey. A thousand empty scans would keep it busy for hours.
  constexpr int kFlags = TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
  if (tjDecompress2(decoder.get(), data, bytes.size(), part.rgb.data(), width, 0, height, TJPF_RGB, kFlags) != 0) {
    return undecodable(name, "JPEG", tjGetErrorStr2(decoder.get()));
  }
  return part;
}

// Bytes as the file that libsndfile wants to move about in.
struct Source {
  std::string_view bytes;
  sf_count_t at = 0;

  sf_count_t size() const { return static_cast<sf_count_t>(bytes.size()); }

  static sf_count_t length(void* user) { return static_cast<Source*>(user)->size(); }
  static sf_count_t tell(void* user) { return static_cast<Source*>(user)->at; }
  static sf_count_t seek(sf_count_t offset, int whence, void* user) {
    auto& source = *static_cast<Source*>(user);
    constexpr sf_count_t kFarthest = sf_count_t{1} << 40;  // a header may name any place
    if (offset < -kFarthest || offset > kFarthest) return -1;
    const sf_count_t to = offset + (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? source.at : source.size());
    if (to < 0 || to > kFarthest) return -1;
    return source.at = to;
  }
  static sf_count_t read(void* into, sf_count_t count, void* user) {
    auto& source = *static_cast<Source*>(user);
    const sf_count_t there = std::clamp<sf_count_t>(source.size() - source.at, 0, std::max<sf_count_t>(count, 0));
    if (there > 0) std::memcpy(into, source.bytes.data() + source.at, static_cast<size_t>(there));
    source.at += there;
    return there;
  }
};

bool has_plain_samples(int format) {
  switch (format & SF_FORMAT_SUBMASK) {
    case SF_FORMAT_PCM_U8:
    case SF_FORMAT_PCM_S8:
    case SF_FORMAT_PCM_16:
    case SF_FORMAT_PCM_24:
    case SF_FORMAT_PCM_32:
    case SF_FORMAT_FLOAT:
    case SF_FORMAT_DOUBLE:
    case SF_FORMAT_ULAW:
    case SF_FORMAT_ALAW: return true;
    default: return false;
  }
}

bool is_wav(int format) {
  const int type = format & SF_FORMAT_TYPEMASK;
  return type == SF_FORMAT_WAV || type == SF_FORMAT_WAVEX;
}

// What the header says of the number of frames is not believed.
Result<std::vector<float>> read_mono(SNDFILE* file, size_t channels, const std::string& name, size_t max_bytes) {
  std::vector<float> samples, chunk(static_cast<size_t>(kChunkFrames) * channels);
  for (;;) {
    const sf_count_t got = sf_readf_float(file, chunk.data(), kChunkFrames);
    if (got <= 0) break;
    const size_t bytes = (samples.size() + static_cast<size_t>(got)) * sizeof(float);
    if (bytes > max_bytes) return too_large(name, "its samples in one channel", bytes, max_bytes);
    for (size_t frame = 0; frame < static_cast<size_t>(got); ++frame) {
      double sum = 0;
      for (size_t channel = 0; channel < channels; ++channel) sum += chunk[frame * channels + channel];
      const auto mean = static_cast<float>(sum / static_cast<double>(channels));
      if (!std::isfinite(mean)) return undecodable(name, "WAV", "a sample is no number");
      samples.push_back(mean);
    }
  }
  if (sf_error(file) != SF_ERR_NO_ERROR) return undecodable(name, "WAV", sf_strerror(file));
  if (samples.empty()) return undecodable(name, "WAV", "there are no samples in it");
  return samples;
}

}  // namespace

Result<client::ImagePart> decode_image(std::string_view bytes, const std::string& name, size_t max_bytes) {
  if (bytes.starts_with(kPngBegins)) return decode_png(bytes, name, max_bytes);
  if (bytes.starts_with(kJpegBegins)) return decode_jpeg(bytes, name, max_bytes);
  return fail(Code::kIntegrity, name + ": expected an image, PNG or JPEG");
}

Result<client::AudioPart> decode_audio(std::string_view bytes, const std::string& name, size_t max_bytes) {
  // libsndfile would read thirty other formats, by far more code than a file from anywhere should meet.
  const bool riff = bytes.size() >= 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WAVE";
  if (!riff) return fail(Code::kIntegrity, name + ": expected a sound, WAV");
  Source source{.bytes = bytes};
  SF_VIRTUAL_IO io{.get_filelen = &Source::length, .seek = &Source::seek, .read = &Source::read, .write = nullptr, .tell = &Source::tell};
  SF_INFO info{};
  const std::unique_ptr<SNDFILE, int (*)(SNDFILE*)> file(sf_open_virtual(&io, SFM_READ, &info, &source), &sf_close);
  if (!file) return undecodable(name, "WAV", sf_strerror(nullptr));
  if (!is_wav(info.format) || !has_plain_samples(info.format)) {
    return fail(Code::kIntegrity, name + ": a WAV with compressed samples: expected PCM, float, A-law or µ-law");
  }
  if (info.channels <= 0 || info.samplerate <= 0) return undecodable(name, "WAV", "its header makes no sense");
  auto samples = read_mono(file.get(), static_cast<size_t>(info.channels), name, max_bytes);
  if (!samples) return std::unexpected(samples.error());
  return client::AudioPart{.sample_rate = static_cast<uint32_t>(info.samplerate), .samples = std::move(*samples)};
}

Result<client::ImagePart> read_image(const std::filesystem::path& path, size_t max_bytes) {
  const auto bytes = os::read_stream(path, kMaxFileBytes);
  if (!bytes) return std::unexpected(bytes.error());
  return decode_image(*bytes, path.string(), max_bytes);
}

Result<client::AudioPart> read_audio(const std::filesystem::path& path, size_t max_bytes) {
  const auto bytes = os::read_stream(path, kMaxFileBytes);
  if (!bytes) return std::unexpected(bytes.error());
  return decode_audio(*bytes, path.string(), max_bytes);
}

}  // namespace inferd::ctl
