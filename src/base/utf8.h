// UTF-8 pieces (RFC 3629), as streams of bytes from a tokenizer or a peer need them. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace inferd {

/// Bytes at the end of `text` (0 to 3) that begin a character which later bytes may complete.
size_t incomplete_utf8_suffix(std::string_view text);

/// True if every byte of `text` belongs to a well-formed character.
bool is_valid_utf8(std::string_view text);

/// `text` with each ill-formed byte sequence replaced by U+FFFD, as the Unicode standard's "maximal subpart" practice says.
std::string to_valid_utf8(std::string_view text);

/// `text` cut to at most `max_bytes`, never inside a character.
std::string_view cut_utf8(std::string_view text, size_t max_bytes);

/// Text of others in one line for a terminal, which would act upon control characters: each becomes '?'.
std::string printable(std::string_view text);

}  // namespace inferd
