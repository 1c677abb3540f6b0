#include "wire/error_code.h"

namespace inferd::wire {

std::string_view error_code_name(Code code) {
  switch (code) {
    case Code::kInvalidRequest: return "invalid_request";
    case Code::kQueueFull: return "queue_full";
    case Code::kBackendUnavailable: return "backend_unavailable";
    case Code::kFrameTooLarge: return "frame_too_large";
    case Code::kAttachmentUnsupported: return "attachment_unsupported";
    case Code::kToolCallMalformed: return "tool_call_malformed";
    case Code::kEmbedUnsupported: return "embed_unsupported";
    default: return "internal";
  }
}

std::optional<Code> error_code_from_name(std::string_view name) {
  for (const Code code : {Code::kInvalidRequest, Code::kQueueFull, Code::kBackendUnavailable, Code::kFrameTooLarge,
                          Code::kAttachmentUnsupported, Code::kToolCallMalformed, Code::kEmbedUnsupported, Code::kInternal}) {
    if (name == error_code_name(code)) return code;
  }
  return std::nullopt;
}

}  // namespace inferd::wire
