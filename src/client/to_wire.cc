#include "client/to_wire.h"

#include <bit>
#include <string>
#include <string_view>
#include <utility>

#include "base/base64.h"
#include "client/connection.h"
#include "wire/embed_codec.h"
#include "wire/json_document.h"
#include "wire/json_value_text.h"

namespace inferd::client {
namespace {

static_assert(std::endian::native == std::endian::little, "samples travel in little-endian order");

std::unexpected<Failure> invalid(std::string message) { return std::unexpected(refused({Code::kInvalidRequest, std::move(message)})); }

Expected<Role> to_wire(const std::string& role) {
  if (role == "system") return Role::kSystem;
  if (role == "user") return Role::kUser;
  if (role == "assistant") return Role::kAssistant;
  return invalid("role \"" + role + "\": expected system, user or assistant");
}

Expected<std::string> compact_json(std::string_view text, const std::string& where) {
  wire::JsonDocument document;
  if (auto parsed = document.parse(text); !parsed) return invalid(where + ": not JSON: " + parsed.error().message);
  std::string out;
  if (!wire::append_json_value(out, document.root(), false)) return invalid(where + ": a number is beyond the range of a double");
  return out;
}

// Turns parts into blocks, and their media into attachments of the request.
class Blocks {
 public:
  explicit Blocks(std::vector<Attachment>& attachments) : attachments_(attachments) {}

  Expected<std::vector<Block>> of(const std::vector<Part>& parts) {
    std::vector<Block> blocks;
    blocks.reserve(parts.size());
    for (const Part& part : parts) {
      auto block = std::visit([this](const auto& held) { return block_of(held); }, part.held);
      if (!block) return std::unexpected(block.error());
      blocks.push_back(std::move(*block));
    }
    return blocks;
  }

 private:
  Expected<Block> block_of(const TextPart& part) { return Block{TextBlock{part.text}}; }
  Expected<Block> block_of(const ImagePart& part) {
    const std::string_view bytes(reinterpret_cast<const char*>(part.rgb.data()), part.rgb.size());
    return attach({.kind = MediaKind::kImage, .id = {}, .width = part.width, .height = part.height, .base64 = encode_base64(bytes)});
  }
  Expected<Block> block_of(const AudioPart& part) {
    const std::string_view bytes(reinterpret_cast<const char*>(part.samples.data()), part.samples.size() * sizeof(float));
    return attach({.kind = MediaKind::kAudio, .id = {}, .sample_rate = part.sample_rate, .base64 = encode_base64(bytes)});
  }
  Expected<Block> block_of(const ToolUsePart& part) {
    auto input = compact_json(part.input, "input of the call of \"" + part.name + "\"");
    if (!input) return std::unexpected(input.error());
    return Block{ToolUseBlock{part.id, part.name, std::move(*input)}};
  }
  Expected<Block> block_of(const ToolResultPart& part) {
    auto content = of(part.content);
    if (!content) return std::unexpected(content.error());
    return Block{ToolResultBlock{part.id, std::move(*content)}};
  }

  Block attach(Attachment attachment) {
    attachment.id = "attachment-" + std::to_string(attachments_.size() + 1);
    attachments_.push_back(std::move(attachment));
    return Block{MediaBlock{attachments_.back().kind, attachments_.back().id}};
  }

  std::vector<Attachment>& attachments_;
};

// What v1 and v2 have in common.
template <class From>
void take_settings(const From& from, GenerateRequest& to) {
  to.id = from.id;
  to.sampling = {.temperature = from.temperature, .top_p = from.top_p, .top_k = from.top_k, .seed = from.seed};
  to.max_tokens = from.max_tokens;
  to.stop = from.stop;
  to.priority = from.batch ? Priority::kBatch : Priority::kInteractive;
  to.local_only = from.local_only;
}

inferd::ToolChoice to_wire(const ToolChoice& choice) {
  switch (choice.mode) {
    case ToolChoice::Mode::kAuto: return {inferd::ToolChoice::Mode::kAuto, {}};
    case ToolChoice::Mode::kNone: return {inferd::ToolChoice::Mode::kNone, {}};
    case ToolChoice::Mode::kRequired: return {inferd::ToolChoice::Mode::kRequired, {}};
    case ToolChoice::Mode::kNamed: return {inferd::ToolChoice::Mode::kNamed, choice.name};
  }
  return {};
}

}  // namespace

Expected<GenerateRequest> to_wire(const Request& request) {
  GenerateRequest out;
  take_settings(request, out);
  out.grammar = request.grammar;
  for (const Message& message : request.messages) {
    const auto role = to_wire(message.role);
    if (!role) return std::unexpected(role.error());
    out.messages.push_back(text_message(*role, message.content));
  }
  return out;
}

Expected<GenerateRequest> to_wire(const TypedRequest& request) {
  GenerateRequest out;
  out.surface = Surface::kV2;
  take_settings(request, out);
  Blocks blocks(out.attachments);
  for (const TypedMessage& message : request.messages) {
    const auto role = to_wire(message.role);
    if (!role) return std::unexpected(role.error());
    auto content = blocks.of(message.content);
    if (!content) return std::unexpected(content.error());
    out.messages.push_back({*role, std::move(*content)});
  }
  for (const ToolDeclaration& tool : request.tools) {
    auto schema = compact_json(tool.input_schema, "input_schema of the tool \"" + tool.name + "\"");
    if (!schema) return std::unexpected(schema.error());
    out.tools.push_back({tool.name, tool.description, std::move(*schema)});
  }
  if (request.tool_choice) out.tool_choice = to_wire(*request.tool_choice);
  if (request.json_schema) {
    auto schema = compact_json(*request.json_schema, "json_schema");
    if (!schema) return std::unexpected(schema.error());
    out.json_schema = std::move(*schema);
  }
  return out;
}

Expected<inferd::EmbedRequest> to_wire(const EmbedRequest& request) {
  inferd::EmbedRequest out{.id = request.id, .input = request.input, .dimensions = request.dimensions, .task = {}, .local_only = request.local_only};
  if (request.task.empty()) return out;
  out.task = wire::embed::task_from_name(request.task);
  if (!out.task) return invalid("task \"" + request.task + "\": there is no such task");
  return out;
}

}  // namespace inferd::client
