#include "engine/conversation.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/json_text.h"

namespace inferd::engine {
namespace {

std::string_view kind_name(MediaKind kind) {
  return kind == MediaKind::kImage ? "image" : kind == MediaKind::kAudio ? "audio" : kind == MediaKind::kVideo ? "video" : "unknown";
}

class Reader {
 public:
  Reader(const GenerateRequest& request, bool takes_media, ControlMarks& marks) : request_(request), takes_media_(takes_media), marks_(marks) {}

  Result<Conversation> run() {
    for (message_ = 0; message_ < request_.messages.size(); ++message_) {
      const size_t before = conversation_.turns.size();
      const Message& message = request_.messages[message_];
      for (const Block& block : message.content) {
        const Status read = std::visit([this](const auto& held) { return add(held); }, block.held);
        if (!read) return std::unexpected(read.error());
      }
      end_turn(conversation_.turns.size() == before);
    }
    return std::move(conversation_);
  }

 private:
  struct KnownCall {
    std::string callers_id, id, name;
  };

  Turn::Speaker speaker() const {
    const Role role = request_.messages[message_].role;
    return role == Role::kSystem ? Turn::Speaker::kSystem : role == Role::kUser ? Turn::Speaker::kUser : Turn::Speaker::kAssistant;
  }

  // What has come of the message's own turn. Protected as a whole: blocks are joined without a separator.
  void end_turn(bool even_if_empty) {
    if (text_.empty() && calls_.empty() && !even_if_empty) return;
    conversation_.turns.push_back({.speaker = speaker(), .message = message_, .text = joined_text(), .calls = std::exchange(calls_, {})});
  }

  std::string joined_text() {
    std::string out, run;
    for (Item& item : std::exchange(text_, {})) {
      if (!item.medium) {
        run += item.text;
        continue;
      }
      out += marks_.protect(std::exchange(run, {}));
      out += marks_.mark(conversation_.media.size());
      conversation_.media.push_back(item.medium);
    }
    return out += marks_.protect(run);
  }

  Status add(const TextBlock& block) {
    if (!block.text.empty()) text_.push_back({block.text, nullptr});
    return {};
  }

  Status add(const MediaBlock& block) {
    const auto found = std::ranges::find(request_.attachments, block.attachment_id, &Attachment::id);
    if (found == request_.attachments.end()) {
      return fail(Code::kInvalidRequest, "attachment: there is none with the id " + json_text(block.attachment_id));
    }
    if (!takes_media_ || block.kind == MediaKind::kVideo) {
      return fail(Code::kAttachmentUnsupported, "attachment: chat template: " + std::string(kind_name(block.kind)) + " attachment " +
                                                    json_text(block.attachment_id) + " not supported by the llamacpp adapter");
    }
    text_.push_back({{}, &*found});
    return {};
  }

  Status add(const ToolUseBlock& block) {
    const std::string place = "messages[" + std::to_string(message_) + "]: the input of tool_use " + json_text(block.tool_call_id);
    auto arguments = marks_.protect_json(block.input, place);
    if (!arguments) return std::unexpected(arguments.error());
    if (*arguments == "null") {
      *arguments = "{}";
    } else if (!arguments->starts_with('{')) {  // templates go through the members
      *arguments = "{\"input\":" + *arguments + "}";
    }
    Turn::Call call{.id = next_id(), .name = marks_.protect(block.name), .arguments = std::move(*arguments)};
    known_.push_back({block.tool_call_id, call.id, call.name});
    if (speaker() == Turn::Speaker::kAssistant) {
      calls_.push_back(std::move(call));
      return {};
    }
    end_turn(false);
    conversation_.turns.push_back({.speaker = Turn::Speaker::kAssistant, .message = message_, .calls = {std::move(call)}});
    return {};
  }

  Status add(const ToolResultBlock& block) {
    std::string text;
    for (const Block& held : block.content) {
      if (const auto* part = std::get_if<TextBlock>(&held.held)) {
        text += part->text;
      } else if (const auto* medium = std::get_if<MediaBlock>(&held.held)) {
        return fail(Code::kAttachmentUnsupported, "attachment: " + std::string(kind_name(medium->kind)) + " attachment " +
                                                      json_text(medium->attachment_id) + " stands in a tool_result, which takes text only");
      } else {
        return fail(Code::kInvalidRequest, "messages[" + std::to_string(message_) + "]: a tool_result takes text only");
      }
    }
    end_turn(false);
    Turn turn{.speaker = Turn::Speaker::kTool, .message = message_, .text = marks_.protect(text)};
    const auto call = std::find_if(known_.rbegin(), known_.rend(), [&](const KnownCall& known) { return known.callers_id == block.tool_call_id; });
    if (call != known_.rend()) {
      turn.call_id = call->id;
      turn.name = call->name;
    } else {
      turn.call_id = next_id();
      if (request_.tools.size() == 1) turn.name = marks_.protect(request_.tools.front().name);
    }
    conversation_.turns.push_back(std::move(turn));
    return {};
  }

  Status add(const UnknownBlock&) {
    return fail(Code::kInvalidRequest, "messages[" + std::to_string(message_) + "] uses unknown content-block type");
  }

  std::string next_id() {
    char id[16];
    std::snprintf(id, sizeof id, "call%05zu", ++ids_ % 100'000);
    return id;
  }

  struct Item {
    std::string text;
    const Attachment* medium = nullptr;
  };

  const GenerateRequest& request_;
  const bool takes_media_;
  ControlMarks& marks_;
  Conversation conversation_;
  size_t message_ = 0;
  size_t ids_ = 0;
  std::vector<Item> text_;
  std::vector<Turn::Call> calls_;
  std::vector<KnownCall> known_;
};

}  // namespace

Result<Conversation> read_conversation(const GenerateRequest& request, bool takes_media, ControlMarks& marks) {
  return Reader(request, takes_media, marks).run();
}

}  // namespace inferd::engine
