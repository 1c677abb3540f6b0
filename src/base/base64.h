// Base64 of the standard alphabet (RFC 4648 §4), as bytes travel in JSON. Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace inferd {

/// The bytes of `text` into `out`, whose former content is gone. Strict: padding with `=` to whole groups of four is mandatory, nothing else may
/// stand between or behind (no white space), and the bits that a padded group does not use are zero, so that each sequence of bytes has one
/// text. False if `text` is none: `out` is then empty.
bool decode_base64(std::string_view text, std::vector<unsigned char>& out);

std::string encode_base64(std::string_view bytes);

}  // namespace inferd
