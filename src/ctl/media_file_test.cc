// Decoding of images and sounds: what comes out, what is refused, and that no damaged file does harm.
#include "ctl/media_file.h"

#include <gtest/gtest.h>
#include <png.h>
#include <turbojpeg.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

namespace inferd::ctl {
namespace {

namespace fs = std::filesystem;

constexpr int kMutations = 3'000;

// Written by libpng in one of its PNG_FORMAT_*.
std::string png(uint32_t width, uint32_t height, uint32_t format, const std::vector<uint8_t>& samples) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = format;
  EXPECT_EQ(PNG_IMAGE_SIZE(image), samples.size());
  png_alloc_size_t size = 0;
  EXPECT_TRUE(png_image_write_to_memory(&image, nullptr, &size, 0, samples.data(), 0, nullptr)) << image.message;
  std::string bytes(size, '\0');
  EXPECT_TRUE(png_image_write_to_memory(&image, bytes.data(), &size, 0, samples.data(), 0, nullptr)) << image.message;
  return bytes;
}

std::string jpeg(int width, int height, int pixel_format, int subsampling, const std::vector<uint8_t>& samples, int flags = 0) {
  tjhandle encoder = tjInitCompress();
  unsigned char* data = nullptr;
  unsigned long size = 0;
  EXPECT_EQ(tjCompress2(encoder, samples.data(), width, 0, height, pixel_format, &data, &size, subsampling, 95, flags), 0) << tjGetErrorStr2(encoder);
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  tjFree(data);
  tjDestroy(encoder);
  return bytes;
}

template <class Number>
std::string little_endian(Number number) {
  const auto raw = std::bit_cast<std::array<char, sizeof number>>(number);
  return std::string(raw.data(), raw.size());
}

// `tag`: 1 PCM, 3 float, 6 A-law, 7 µ-law.
std::string wav(uint16_t tag, uint16_t channels, uint32_t rate, uint16_t bits, const std::string& data) {
  const auto frame = static_cast<uint16_t>(channels * bits / 8);
  const std::string format = little_endian(tag) + little_endian(channels) + little_endian(rate) + little_endian(rate * frame) +
                             little_endian(frame) + little_endian(bits);
  const std::string chunks = "WAVEfmt " + little_endian(static_cast<uint32_t>(format.size())) + format + "data" +
                             little_endian(static_cast<uint32_t>(data.size())) + data;
  return "RIFF" + little_endian(static_cast<uint32_t>(chunks.size())) + chunks;
}

template <class Number>
std::string samples_of(std::initializer_list<Number> samples) {
  std::string bytes;
  for (const Number sample : samples) bytes += little_endian(sample);
  return bytes;
}

Result<client::ImagePart> image_of(const std::string& bytes, size_t max_bytes = kMaxMediaBytes) { return decode_image(bytes, "a.file", max_bytes); }
Result<client::AudioPart> audio_of(const std::string& bytes, size_t max_bytes = kMaxMediaBytes) { return decode_audio(bytes, "a.file", max_bytes); }

template <class Decoded>
void expect_refused(const Decoded& decoded, Code code, const std::string& says) {
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, code) << decoded.error().message;
  EXPECT_TRUE(decoded.error().message.starts_with("a.file: ")) << decoded.error().message;
  EXPECT_NE(decoded.error().message.find(says), std::string::npos) << decoded.error().message;
}

// Some picture that is not flat.
std::vector<uint8_t> pattern(size_t bytes) {
  std::vector<uint8_t> samples(bytes);
  for (size_t i = 0; i < bytes; ++i) samples[i] = static_cast<uint8_t>(i * 37 + i * i / 11);
  return samples;
}

std::string sine_wav() {
  std::string data;
  for (int i = 0; i < 64; ++i) data += little_endian(static_cast<int16_t>(10'000 * std::sin(i * 0.3)));
  return wav(1, 2, 16'000, 16, data);
}

TEST(MediaFile, APngKeepsItsPixels) {
  const auto pixels = pattern(7 * 5 * 3);
  const auto image = image_of(png(7, 5, PNG_FORMAT_RGB, pixels));
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->width, 7u);
  EXPECT_EQ(image->height, 5u);
  EXPECT_EQ(image->rgb, pixels);
}

TEST(MediaFile, AGreyPngBecomesRgb) {
  const auto image = image_of(png(3, 1, PNG_FORMAT_GRAY, {0, 100, 255}));
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->rgb, (std::vector<uint8_t>{0, 0, 0, 100, 100, 100, 255, 255, 255}));
}

TEST(MediaFile, TransparentPartsOfAPngAreWhite) {
  const auto image = image_of(png(2, 1, PNG_FORMAT_RGBA, {10, 20, 30, 0, 10, 20, 30, 255}));
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->rgb, (std::vector<uint8_t>{255, 255, 255, 10, 20, 30}));
}

TEST(MediaFile, APngOf16BitsBecomesOneOf8) {
  const std::string samples = samples_of<uint16_t>({0, 65535, 0, 65535, 0, 65535});
  const auto image = image_of(png(2, 1, PNG_FORMAT_LINEAR_RGB, std::vector<uint8_t>(samples.begin(), samples.end())));
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->rgb, (std::vector<uint8_t>{0, 255, 0, 255, 0, 255}));
}

TEST(MediaFile, AJpegKeepsItsPixelsButForItsLoss) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 20 * 10; ++i) pixels.insert(pixels.end(), {200, 30, 90});
  for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
    const auto image = image_of(jpeg(20, 10, TJPF_RGB, TJSAMP_420, pixels, flags));
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->width, 20u);
    EXPECT_EQ(image->height, 10u);
    ASSERT_EQ(image->rgb.size(), pixels.size());
    for (size_t i = 0; i < pixels.size(); ++i) EXPECT_NEAR(image->rgb[i], pixels[i], 4);
  }
}

TEST(MediaFile, AGreyJpegBecomesRgb) {
  const auto image = image_of(jpeg(8, 8, TJPF_GRAY, TJSAMP_GRAY, std::vector<uint8_t>(64, 77)));
  ASSERT_TRUE(image) << image.error().message;
  ASSERT_EQ(image->rgb.size(), 64u * 3);
  for (const uint8_t sample : image->rgb) EXPECT_NEAR(sample, 77, 2);
}

TEST(MediaFile, AnImageThatIsNone) {
  for (const std::string& bytes : {std::string(), std::string("hello"), std::string("GIF89a"), sine_wav()}) {
    expect_refused(image_of(bytes), Code::kIntegrity, "PNG or JPEG");
  }
  expect_refused(image_of("\x89PNG\r\n\x1a\n"), Code::kIntegrity, "cannot be decoded as PNG: ");
  expect_refused(image_of("\xFF\xD8\xFF"), Code::kIntegrity, "cannot be decoded as JPEG: ");
}

TEST(MediaFile, AJpegOfTablesOnlyIsNoImage) {
  const std::string whole = jpeg(8, 8, TJPF_GRAY, TJSAMP_GRAY, std::vector<uint8_t>(64, 77));
  const size_t frame = whole.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  EXPECT_FALSE(image_of(whole.substr(0, frame) + "\xFF\xD9"));
}

TEST(MediaFile, AnImageHasRoomUpToTheLastByte) {
  for (const std::string& bytes : {png(7, 5, PNG_FORMAT_RGB, pattern(105)), jpeg(7, 5, TJPF_RGB, TJSAMP_444, pattern(105))}) {
    EXPECT_TRUE(image_of(bytes, 105));
    expect_refused(image_of(bytes, 104), Code::kUsage, "7 x 5 pixels");
  }
}

uint32_t crc_of(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

std::string big_endian(uint32_t number) {
  return {static_cast<char>(number >> 24), static_cast<char>(number >> 16), static_cast<char>(number >> 8), static_cast<char>(number)};
}

// A few bytes that claim to be gigabytes.
TEST(MediaFile, SizesAreCheckedBeforeMemoryIsTaken) {
  std::string bytes = png(1, 1, PNG_FORMAT_RGB, {1, 2, 3});
  bytes.replace(16, 8, big_endian(900'000) + big_endian(900'000));
  bytes.replace(29, 4, big_endian(crc_of(bytes.substr(12, 17))));
  expect_refused(image_of(bytes), Code::kUsage, "900000 x 900000 pixels");

  bytes = jpeg(8, 8, TJPF_GRAY, TJSAMP_GRAY, std::vector<uint8_t>(64, 77));
  const size_t frame = bytes.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  bytes.replace(frame + 5, 4, "\xFF\xDC\xFF\xDC");
  expect_refused(image_of(bytes), Code::kUsage, "65500 x 65500 pixels");

  bytes = wav(1, 1, 16'000, 16, "abcd");
  bytes.replace(bytes.size() - 8, 4, "\xFF\xFF\xFF\x7F");  // of the data
  const auto audio = audio_of(bytes);
  ASSERT_TRUE(audio) << audio.error().message;
  EXPECT_EQ(audio->samples.size(), 2u);
}

TEST(MediaFile, AWavKeepsItsRateAndItsSamples) {
  const std::vector<float> expected = {0.0f, 0.5f, -1.0f};
  for (const std::string& bytes : {wav(1, 1, 44'100, 16, samples_of<int16_t>({0, 16'384, -32'768})),
                                   wav(1, 1, 44'100, 8, samples_of<uint8_t>({128, 192, 0})),
                                   wav(1, 1, 44'100, 32, samples_of<int32_t>({0, 1 << 30, INT32_MIN})),
                                   wav(1, 1, 44'100, 24, std::string("\0\0\0\0\0\x40\0\0\x80", 9)),
                                   wav(3, 1, 44'100, 32, samples_of<float>({0.0f, 0.5f, -1.0f})),
                                   wav(3, 1, 44'100, 64, samples_of<double>({0.0, 0.5, -1.0}))}) {
    const auto audio = audio_of(bytes);
    ASSERT_TRUE(audio) << audio.error().message;
    EXPECT_EQ(audio->sample_rate, 44'100u);
    ASSERT_EQ(audio->samples.size(), 3u);
    for (size_t i = 0; i < 3; ++i) EXPECT_FLOAT_EQ(audio->samples[i], expected[i]);
  }
  for (const uint16_t tag : {uint16_t{6}, uint16_t{7}}) {
    const auto audio = audio_of(wav(tag, 1, 8'000, 8, "\x55\xD5\x2A"));
    ASSERT_TRUE(audio) << audio.error().message;
    EXPECT_EQ(audio->samples.size(), 3u);
  }
}

TEST(MediaFile, ChannelsAreMixedDown) {
  const auto audio = audio_of(wav(3, 2, 16'000, 32, samples_of<float>({1.0f, 0.0f, -0.5f, -0.5f})));
  ASSERT_TRUE(audio) << audio.error().message;
  EXPECT_EQ(audio->samples, (std::vector<float>{0.5f, -0.5f}));
}

TEST(MediaFile, ASoundThatIsNone) {
  for (const std::string& bytes : {std::string(), std::string("RIFF"), std::string("fLaC\0\0\0\"", 8), std::string("RIFF\4\0\0\0AVI ", 12)}) {
    expect_refused(audio_of(bytes), Code::kIntegrity, "WAV");
  }
  expect_refused(audio_of(wav(1, 1, 16'000, 16, "")), Code::kIntegrity, "no samples");
  expect_refused(audio_of(wav(3, 1, 16'000, 32, samples_of<float>({0.0f, NAN}))), Code::kIntegrity, "no number");
  EXPECT_FALSE(audio_of(wav(2, 1, 16'000, 4, std::string(256, 'a')))) << "ADPCM";
}

TEST(MediaFile, ASoundHasRoomUpToTheLastSample) {
  const std::string bytes = wav(1, 2, 16'000, 16, std::string(4 * 10'000, '\1'));
  EXPECT_TRUE(audio_of(bytes, 40'000));
  expect_refused(audio_of(bytes, 39'999), Code::kUsage, "its samples");
}

TEST(MediaFile, AnImageThatEndsEarlyIsRefused) {
  for (const std::string& whole : {png(9, 9, PNG_FORMAT_RGBA, pattern(9 * 9 * 4)), jpeg(24, 24, TJPF_RGB, TJSAMP_420, pattern(24 * 24 * 3)),
                                   jpeg(24, 24, TJPF_RGB, TJSAMP_444, pattern(24 * 24 * 3), TJFLAG_PROGRESSIVE)}) {
    ASSERT_TRUE(image_of(whole));
    // Behind the pixels of a PNG there is a chunk of 12 bytes that says so, behind those of a JPEG a mark of 2.
    for (size_t length = 0; length + 12 < whole.size(); ++length) {
      EXPECT_FALSE(image_of(whole.substr(0, length))) << length << " of " << whole.size();
    }
  }
}

TEST(MediaFile, ASoundThatEndsEarlyIsTakenAsFarAsItGoes) {
  const std::string whole = sine_wav();
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto audio = audio_of(whole.substr(0, length));
    if (audio) {
      EXPECT_LE(audio->samples.size(), 32u);
    }
  }
  const auto half = audio_of(whole.substr(0, whole.size() - 64));
  ASSERT_TRUE(half) << half.error().message;
  EXPECT_EQ(half->samples.size(), 16u);
}

// Runs under the sanitizers with `make test-asan`.
TEST(MediaFile, DamagedFilesAreAnErrorOrAPicture) {
  std::mt19937 random(20);
  const std::vector<std::string> files = {png(9, 9, PNG_FORMAT_RGBA, pattern(9 * 9 * 4)), png(16, 4, PNG_FORMAT_GRAY, pattern(64)),
                                    jpeg(24, 24, TJPF_RGB, TJSAMP_420, pattern(24 * 24 * 3)),
                                    jpeg(24, 24, TJPF_RGB, TJSAMP_444, pattern(24 * 24 * 3), TJFLAG_PROGRESSIVE),
                                    jpeg(16, 16, TJPF_CMYK, TJSAMP_444, pattern(16 * 16 * 4)), sine_wav(),
                                    wav(3, 1, 16'000, 32, samples_of<float>({0.1f, 0.2f, 0.3f}))};
  for (const std::string& whole : files) {
    for (int i = 0; i < kMutations; ++i) {
      std::string bytes = whole;
      for (uint32_t n = random() % 8; n < 8; ++n) bytes[random() % bytes.size()] = static_cast<char>(random());
      if (random() % 4 == 0) bytes.insert(random() % bytes.size(), random() % 16, static_cast<char>(random()));
      // A small limit: most of what a damaged header claims is not worth the time.
      if (const auto image = image_of(bytes, 1u << 16)) {
        EXPECT_EQ(image->rgb.size(), size_t{image->width} * image->height * 3);
      }
      if (const auto audio = audio_of(bytes, 1u << 16)) {
        EXPECT_FALSE(audio->samples.empty());
        for (const float sample : audio->samples) EXPECT_TRUE(std::isfinite(sample));
      }
    }
  }
}

TEST(MediaFile, FilesAreNamed) {
  const fs::path folder = fs::path(testing::TempDir()) / "media_file_test";
  fs::create_directories(folder);
  const fs::path file = folder / "picture.jpg";
  std::ofstream(file, std::ios::binary) << png(1, 1, PNG_FORMAT_RGB, {1, 2, 3});
  const auto image = read_image(file, kMaxMediaBytes);
  ASSERT_TRUE(image) << "a PNG by its content: " << image.error().message;
  EXPECT_EQ(image->rgb, (std::vector<uint8_t>{1, 2, 3}));
  const auto no_sound = read_audio(file, kMaxMediaBytes);
  ASSERT_FALSE(no_sound);
  EXPECT_EQ(no_sound.error().message, file.string() + ": expected a sound, WAV");
  const auto missing = read_image(folder / "missing.png", kMaxMediaBytes);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("missing.png"), std::string::npos);
  EXPECT_FALSE(read_image(folder, kMaxMediaBytes));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace inferd::ctl
