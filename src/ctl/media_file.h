// Images and sounds of files, decoded for a request: the daemon takes pixels and samples only (spec 02 §2.3). Used by `run`, on the main
// thread. libpng, libjpeg-turbo and libsndfile are seen by media_file.cc alone. A file may hold anything: sizes are checked before memory is
// taken for them, and what a library reports as damage is an error.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "inferd/client.h"
#include "request/limits.h"

namespace inferd::ctl {

/// Bytes of pixels and samples that a request has room for: base64 makes them a third longer, and its texts need some, too.
inline constexpr size_t kMaxMediaBytes = (kMaxFrameBytes - (2u << 20)) / 4 * 3;

// What was decoded has at most `max_bytes`. Errors begin with the file's name: kIntegrity if it is not of its format, kUsage if it is too
// large, those of reading it.

/// A PNG or a JPEG, whatever it is called. Transparent parts show white, grey becomes RGB, 16 bits become 8. A rotation that a camera has
/// only noted (EXIF) is not carried out.
Result<client::ImagePart> read_image(const std::filesystem::path& path, size_t max_bytes);
/// A WAV with PCM, float, A-law or µ-law samples. Its channels are mixed down to one, its rate stays. One that ends early is taken as far
/// as it goes: recorders that write into a pipe leave its length open.
Result<client::AudioPart> read_audio(const std::filesystem::path& path, size_t max_bytes);

// The same for the bytes of a file called `name`.
Result<client::ImagePart> decode_image(std::string_view bytes, const std::string& name, size_t max_bytes);
Result<client::AudioPart> decode_audio(std::string_view bytes, const std::string& name, size_t max_bytes);

}  // namespace inferd::ctl
