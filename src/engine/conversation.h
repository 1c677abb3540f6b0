// The messages of a request as turns that a chat template can take: texts with marks for control tokens and attachments, calls, and each
// result as a turn of its own with the call that it belongs to. Prepare threads; pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/control_marks.h"
#include "request/generate.h"

namespace inferd::engine {

struct Turn {
  enum class Speaker : uint8_t { kSystem, kUser, kAssistant, kTool };
  struct Call {
    std::string id;         // call00001, ...: some templates want nine letters or digits (Mistral's)
    std::string name;
    std::string arguments;  // JSON text of an object
  };
  Speaker speaker = Speaker::kUser;
  size_t message = 0;       // of the request
  std::string text = {};    // kTool: the result
  std::vector<Call> calls = {};  // kAssistant
  std::string call_id = {};  // kTool: as that of the call; one that no call has if there is none
  std::string name = {};    // kTool: of the call, or of the only tool; may be empty
};

struct Conversation {
  std::vector<Turn> turns;
  std::vector<const Attachment*> media;  // mark(i) in a text stands for media[i]; the request's
};

/// `takes_media`: attachments are allowed outside of tool results. Errors: kAttachmentUnsupported, by name; kInvalidRequest: a block or a
/// call's input that cannot be used.
Result<Conversation> read_conversation(const GenerateRequest& request, bool takes_media, ControlMarks& marks);

}  // namespace inferd::engine
