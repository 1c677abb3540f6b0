// One line of the input of `inferdctl embed`. Pure functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace inferd::ctl {

struct EmbedLine {
  std::string text;
  std::string id = {};  // JSON text, as it was given; empty: none
};

/// A JSON string, or an object with a string "text" and perhaps an "id" of any type; other fields are ignored. Nothing for a blank line.
/// An empty text is an error, as for the daemon.
Result<std::optional<EmbedLine>> parse_json_line(std::string_view line);
/// The whole line is the text; it must be UTF-8 and not empty.
Result<EmbedLine> parse_text_line(std::string_view line);

}  // namespace inferd::ctl
