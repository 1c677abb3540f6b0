// The one map between Error and the code that a client sees (spec 01 §6.1, 02 §5.1, 03 §5). Pure functions.
#pragma once

#include <optional>
#include <string_view>

#include "base/error.h"

namespace inferd::wire {

/// queue_full, backend_unavailable, invalid_request, frame_too_large, on v2 attachment_unsupported and tool_call_malformed, on embed
/// embed_unsupported; every other code of ours is `internal`.
std::string_view error_code_name(Code code);
std::optional<Code> error_code_from_name(std::string_view name);

}  // namespace inferd::wire
