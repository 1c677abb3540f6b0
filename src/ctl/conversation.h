// The turns of `run -i`, whatever the wire: lines of a person at a terminal, or of a pipe. Main thread.
#pragma once

#include <optional>
#include <string>

#include "inferd/client.h"

namespace inferd::ctl {

/// Says on a terminal how to leave.
void begin_conversation();

/// The next line; nothing at the end of the input. `prompt` is shown on a terminal only. Ctrl-C drops what was typed.
std::optional<std::string> read_turn(const std::string& prompt);

/// Says why a turn got no answer. False if the connection is of no use any more.
bool report_unanswered(const client::Failure& failure);

}  // namespace inferd::ctl
