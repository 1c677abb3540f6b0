#include "wire/v2_codec.h"

#include <array>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/json_text.h"
#include "base/utf8.h"
#include "request/limits.h"
#include "wire/json_fields.h"
#include "wire/json_value_text.h"
#include "wire/name_table.h"
#include "wire/request_fields.h"

namespace inferd::wire::v2 {
namespace {

using namespace std::string_view_literals;

// The names that v2 alone has stand behind the shared ones; the enums are their places.
constexpr auto kRequestFields =
    field_names(request_field::kNames, std::array{"attachments"sv, "tools"sv, "tool_choice"sv, "response_format"sv});
enum RequestField : size_t { kAttachments = request_field::kCount, kTools, kToolChoice, kResponseFormat };
constexpr auto kReplyFields = field_names(reply_field::kNames, std::array{"block"sv, "tool_choice_unsatisfied"sv});
enum ReplyField : size_t { kBlock = reply_field::kCount, kToolChoiceUnsatisfied };
constexpr UsageNames kUsageNames = {"input_tokens", "output_tokens", "cached_input_tokens"};

constexpr std::array kTypeTag = {"type"sv};
constexpr std::array kKindTag = {"kind"sv};
constexpr std::array kToolUseFields = {"tool_call_id"sv, "name"sv, "input"sv};  // of a block of a request and of one of an answer

// Names of attachments and of the blocks that refer to them.
constexpr std::array kMediaKinds = {std::pair(MediaKind::kImage, "image"sv), std::pair(MediaKind::kAudio, "audio"sv),
                                    std::pair(MediaKind::kVideo, "video"sv)};
constexpr std::array kToolChoices = {std::pair(ToolChoice::Mode::kAuto, "auto"sv), std::pair(ToolChoice::Mode::kNone, "none"sv),
                                     std::pair(ToolChoice::Mode::kRequired, "required"sv)};
constexpr std::array kStopReasons = {
    std::pair(StopReason::kEnd, "end_turn"sv),       std::pair(StopReason::kLength, "max_tokens"sv),
    std::pair(StopReason::kToolUse, "tool_use"sv),   std::pair(StopReason::kStopSequence, "stop_sequence"sv),
    std::pair(StopReason::kCancelled, "cancelled"sv), std::pair(StopReason::kError, "error"sv)};

// Reading. `path` is where a value stands, for errors.

// The fields of an object whose first known ones are required strings; these go into `texts`.
Result<JsonFields> read_texts(JsonValue value, const std::string& path, std::span<const std::string_view> known,
                              std::initializer_list<std::string*> texts) {
  auto fields = JsonFields::of(value, path, known);
  if (!fields) return fields;
  size_t field = 0;
  for (std::string* text : texts) {
    if (!fields->text(field++, *text, true)) return std::unexpected(fields->error());
  }
  return fields;
}

// What says of which shape an object is. Its other fields are looked up once that is known: those of another shape are unknown ones.
Result<std::string> read_tag(JsonValue value, const std::string& path, std::span<const std::string_view> tag) {
  std::string text;
  if (auto fields = read_texts(value, path, tag, {&text}); !fields) return std::unexpected(std::move(fields.error()));
  return text;
}

// A required field that holds any JSON.
bool read_json(JsonFields& fields, size_t field, std::string_view name, bool sort_keys, std::string& out) {
  const auto& value = fields.find(field);
  if (!value) return fields.missing(field);
  return append_json_value(out, *value, sort_keys) || fields.wrong(name, "numbers within the range of a double");
}

template <class Element>
using Read = Result<Element> (*)(JsonValue, const std::string& path);

template <class Element>
Result<std::vector<Element>> read_elements(JsonValue array, const std::string& path, Read<Element> read) {
  std::vector<Element> elements;
  for (const JsonValue value : array) {
    auto element = read(value, path + "[" + std::to_string(elements.size()) + "]");
    if (!element) return std::unexpected(std::move(element.error()));
    elements.push_back(std::move(*element));
  }
  return elements;
}

Result<ToolUseBlock> read_tool_use(JsonValue value, const std::string& path) {
  ToolUseBlock block;
  auto fields = read_texts(value, path, kToolUseFields, {&block.tool_call_id, &block.name});
  if (!fields) return std::unexpected(std::move(fields.error()));
  if (!read_json(*fields, 2, "input", true, block.input)) return std::unexpected(fields->error());
  return block;
}

// Recursion: each level is two of the document's nested arrays and objects, of which there are at most kMaxJsonDepth.
Result<Block> read_block(JsonValue value, const std::string& path) {
  static constexpr std::array kTextFields = {"text"sv}, kMediaFields = {"attachment_id"sv};
  static constexpr std::array kToolResultFields = {"tool_call_id"sv, "content"sv};
  const auto type = read_tag(value, path, kTypeTag);
  if (!type) return std::unexpected(type.error());
  if (*type == "text") {
    TextBlock block;
    if (auto fields = read_texts(value, path, kTextFields, {&block.text}); !fields) return std::unexpected(std::move(fields.error()));
    return Block{std::move(block)};
  }
  if (const auto kind = value_of(kMediaKinds, *type)) {
    MediaBlock block{*kind, {}};
    if (auto fields = read_texts(value, path, kMediaFields, {&block.attachment_id}); !fields) {
      return std::unexpected(std::move(fields.error()));
    }
    return Block{std::move(block)};
  }
  if (*type == "tool_use") {
    auto block = read_tool_use(value, path);
    if (!block) return std::unexpected(std::move(block.error()));
    return Block{std::move(*block)};
  }
  if (*type != "tool_result") return Block{UnknownBlock{}};
  ToolResultBlock block;
  auto fields = read_texts(value, path, kToolResultFields, {&block.tool_call_id});
  if (!fields) return std::unexpected(std::move(fields.error()));
  const auto content = fields->array(1, true);
  if (!content) return std::unexpected(fields->error());
  auto blocks = read_elements<Block>(*content, path + ".content", read_block);
  if (!blocks) return std::unexpected(std::move(blocks.error()));
  block.content = std::move(*blocks);
  return Block{std::move(block)};
}

Result<Message> read_message(JsonValue value, const std::string& path) {
  static constexpr std::array kFields = {"role"sv, "content"sv};
  auto fields = JsonFields::of(value, path, kFields);
  if (!fields) return std::unexpected(std::move(fields.error()));
  const auto role = read_role(*fields, 0);
  if (!role) return std::unexpected(role.error());
  const auto content = fields->array(1, true);
  if (!content) return std::unexpected(fields->error());
  auto blocks = read_elements<Block>(*content, path + ".content", read_block);
  if (!blocks) return std::unexpected(std::move(blocks.error()));
  return Message{*role, std::move(*blocks)};
}

Result<Attachment> read_attachment(JsonValue value, const std::string& path) {
  static constexpr std::array kImageFields = {"id"sv, "bytes"sv, "width"sv, "height"sv};
  static constexpr std::array kAudioFields = {"id"sv, "bytes"sv, "sample_rate"sv};
  static constexpr std::array kVideoFields = {"id"sv, "bytes"sv};
  const auto tag = read_tag(value, path, kKindTag);
  if (!tag) return std::unexpected(tag.error());
  Attachment attachment{.kind = value_of(kMediaKinds, *tag).value_or(MediaKind::kUnknown), .id = {}, .base64 = {}};
  if (attachment.kind == MediaKind::kUnknown) return attachment;
  const std::span<const std::string_view> known = attachment.kind == MediaKind::kImage   ? std::span<const std::string_view>(kImageFields)
                                                  : attachment.kind == MediaKind::kAudio ? std::span<const std::string_view>(kAudioFields)
                                                                                         : std::span<const std::string_view>(kVideoFields);
  auto fields = read_texts(value, path, known, {&attachment.id, &attachment.base64});
  if (!fields) return std::unexpected(std::move(fields.error()));
  bool numbers = true;
  if (attachment.kind == MediaKind::kImage) {
    numbers = fields->required_u32(2, attachment.width) && fields->required_u32(3, attachment.height);
  } else if (attachment.kind == MediaKind::kAudio) {
    numbers = fields->required_u32(2, attachment.sample_rate);
  }
  if (!numbers) return std::unexpected(fields->error());
  return attachment;
}

Result<Tool> read_tool(JsonValue value, const std::string& path) {
  static constexpr std::array kFields = {"name"sv, "description"sv, "input_schema"sv};
  Tool tool;
  auto fields = read_texts(value, path, kFields, {&tool.name, &tool.description});
  if (!fields) return std::unexpected(std::move(fields.error()));
  if (!read_json(*fields, 2, "input_schema", false, tool.input_schema)) return std::unexpected(fields->error());
  return tool;
}

Result<ToolChoice> read_tool_choice(JsonValue value) {
  static constexpr std::array kNamedFields = {"name"sv};
  ToolChoice choice{ToolChoice::Mode::kUnknown, {}};
  if (value.type() == JsonValue::Type::kString) {
    choice.mode = value_of(kToolChoices, value.text()).value_or(ToolChoice::Mode::kUnknown);
    return choice;
  }
  if (value.type() != JsonValue::Type::kObject) {
    return fail(Code::kInvalidRequest, "invalid type: field `tool_choice`: expected a string or an object");
  }
  const auto type = read_tag(value, "tool_choice", kTypeTag);
  if (!type) return std::unexpected(type.error());
  if (*type != "tool") return choice;
  choice.mode = ToolChoice::Mode::kNamed;
  if (auto fields = read_texts(value, "tool_choice", kNamedFields, {&choice.name}); !fields) {
    return std::unexpected(std::move(fields.error()));
  }
  return choice;
}

Result<std::string> read_response_format(JsonValue value) {
  static constexpr std::array kFields = {"type"sv, "schema"sv};
  std::string type, schema;
  auto fields = read_texts(value, "response_format", kFields, {&type});
  if (!fields) return std::unexpected(std::move(fields.error()));
  if (type != "json_schema") {
    return fail(Code::kInvalidRequest,
                "field `response_format.type`: unknown variant `" + std::string(cut_utf8(type, 64)) + "`, expected `json_schema`");
  }
  if (!read_json(*fields, 1, "schema", false, schema)) return std::unexpected(fields->error());
  return schema;
}

template <class Element>
Status read_array(JsonFields& fields, size_t field, bool required, Read<Element> read, std::vector<Element>& out) {
  const auto array = fields.array(field, required);
  if (!fields.ok()) return std::unexpected(fields.error());
  if (!array) return {};
  auto elements = read_elements<Element>(*array, fields.path_of(field), read);
  if (!elements) return std::unexpected(std::move(elements.error()));
  out = std::move(*elements);
  return {};
}

Status read_request(JsonFields& fields, GenerateRequest& request) {
  if (auto read = read_shared_fields(fields, request); !read) return read;
  if (auto read = read_array<Message>(fields, request_field::kMessages, true, read_message, request.messages); !read) return read;
  if (auto read = read_array<Attachment>(fields, kAttachments, false, read_attachment, request.attachments); !read) return read;
  if (auto read = read_array<Tool>(fields, kTools, false, read_tool, request.tools); !read) return read;
  if (const auto& value = fields.find(kToolChoice); value && !value->is_null()) {
    auto choice = read_tool_choice(*value);
    if (!choice) return std::unexpected(std::move(choice.error()));
    request.tool_choice = std::move(*choice);
  }
  if (const auto& value = fields.find(kResponseFormat); value && !value->is_null()) {
    auto schema = read_response_format(*value);
    if (!schema) return std::unexpected(std::move(schema.error()));
    request.json_schema = std::move(*schema);
  }
  return {};
}

Result<Piece> read_piece(JsonValue value) {
  static constexpr std::array kDeltaFields = {"delta"sv};
  const auto type = read_tag(value, "block", kTypeTag);
  if (!type) return std::unexpected(type.error());
  Piece piece;
  if (*type == "tool_use") {
    auto call = read_tool_use(value, "block");
    if (!call) return std::unexpected(std::move(call.error()));
    piece.kind = Piece::Kind::kToolCall;
    piece.call = {std::move(call->tool_call_id), std::move(call->name), std::move(call->input)};
    return piece;
  }
  if (*type == "thinking") {
    piece.kind = Piece::Kind::kThinking;
  } else if (*type != "text") {
    return fail(Code::kInvalidRequest, "unknown block type `" + std::string(cut_utf8(*type, 64)) + "`");
  }
  if (auto fields = read_texts(value, "block", kDeltaFields, {&piece.text}); !fields) return std::unexpected(std::move(fields.error()));
  return piece;
}

// Checking.

// An id or name of the caller's in a message: as a client knows it, but not with megabytes.
std::string_view shown(std::string_view text) { return cut_utf8(text, 256); }

using Kinds = std::map<std::string_view, MediaKind>;  // attachment id -> its kind

Result<Kinds> check_attachments(const std::vector<Attachment>& attachments) {
  Kinds kinds;
  for (const Attachment& attachment : attachments) {
    if (attachment.kind == MediaKind::kUnknown) return refuse_request("attachments contain an unknown kind");
    if (attachment.id.empty()) return refuse_request("attachments must have non-empty id");
    if (!kinds.emplace(attachment.id, attachment.kind).second) {
      return refuse_request("duplicate attachment id: " + std::string(shown(attachment.id)));
    }
  }
  return kinds;
}

// `message` stays that of the outermost message; the numbers of blocks are those of their own array.
Status check_blocks(const std::vector<Block>& blocks, size_t message, const Kinds& kinds) {
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto refuse = [&](const std::string& why) {
      return refuse_request("messages[" + std::to_string(message) + "].content[" + std::to_string(i) + "] " + why);
    };
    if (const auto* media = std::get_if<MediaBlock>(&blocks[i].held)) {
      const auto at = kinds.find(media->attachment_id);
      if (at != kinds.end() && at->second == media->kind) continue;
      const std::string id = json_text(shown(media->attachment_id));
      if (at == kinds.end()) return refuse("references unknown attachment_id " + id);
      return refuse("block expects " + std::string(name_of(kMediaKinds, media->kind)) + " attachment but " + id + " is a different kind");
    } else if (const auto* result = std::get_if<ToolResultBlock>(&blocks[i].held)) {
      if (auto checked = check_blocks(result->content, message, kinds); !checked) return checked;
    } else if (std::holds_alternative<UnknownBlock>(blocks[i].held)) {
      return refuse("uses unknown content-block type");
    }
  }
  return {};
}

Status check_tool_choice(const GenerateRequest& request, const std::set<std::string_view>& tools) {
  using Mode = ToolChoice::Mode;
  const auto& choice = request.tool_choice;
  if (choice && choice->mode == Mode::kUnknown) {
    return refuse_request(R"(tool_choice must be one of: "auto", "none", "required", {"type":"tool","name":NAME})");
  }
  const bool demands = choice && (choice->mode == Mode::kRequired || choice->mode == Mode::kNamed);
  if (demands && tools.empty()) return refuse_request("tool_choice requires a non-empty tools array");
  if (demands && choice->mode == Mode::kNamed && !tools.contains(choice->name)) {
    return refuse_request("tool_choice names " + json_text(shown(choice->name)) + ", which tools does not declare");
  }
  const bool may_call = choice ? choice->mode != Mode::kNone : !tools.empty();
  if (request.json_schema && may_call) {
    return refuse_request(choice ? R"(response_format and tool_choice exclude each other, but for a tool_choice of "none")"
                                 : R"(response_format and tools need a tool_choice of "none": absent it means "auto")");
  }
  return {};
}

// Writing.

void append_blocks(std::string& out, const std::vector<Block>& blocks);

void append_block(std::string& out, const Block& block) {
  JsonObjectWriter object(out);
  if (const auto* text = std::get_if<TextBlock>(&block.held)) {
    object.text("type", "text");
    object.text("text", text->text);
  } else if (const auto* media = std::get_if<MediaBlock>(&block.held)) {
    object.text("type", name_of(kMediaKinds, media->kind));
    object.text("attachment_id", media->attachment_id);
  } else if (const auto* call = std::get_if<ToolUseBlock>(&block.held)) {
    object.text("type", "tool_use");
    object.text("tool_call_id", call->tool_call_id);
    object.text("name", call->name);
    object.key("input") += call->input;
  } else if (const auto* result = std::get_if<ToolResultBlock>(&block.held)) {
    object.text("type", "tool_result");
    object.text("tool_call_id", result->tool_call_id);
    append_blocks(object.key("content"), result->content);
  } else {
    object.text("type", "unknown");  // what it was is not kept
  }
  object.end();
}

template <class Element>
void append_array(std::string& out, const std::vector<Element>& elements, void (*append)(std::string&, const Element&)) {
  out += '[';
  for (const Element& element : elements) {
    if (out.back() != '[') out += ',';
    append(out, element);
  }
  out += ']';
}

void append_blocks(std::string& out, const std::vector<Block>& blocks) { append_array(out, blocks, append_block); }

void append_message(std::string& out, const Message& message) {
  JsonObjectWriter object(out);
  object.text("role", name_of(kRoles, message.role));
  append_blocks(object.key("content"), message.content);
  object.end();
}

void append_attachment(std::string& out, const Attachment& attachment) {
  JsonObjectWriter object(out);
  const bool known = attachment.kind != MediaKind::kUnknown;
  object.text("kind", known ? name_of(kMediaKinds, attachment.kind) : "unknown");
  if (known) {
    object.text("id", attachment.id);
    if (attachment.kind == MediaKind::kImage) {
      object.natural("width", attachment.width);
      object.natural("height", attachment.height);
    } else if (attachment.kind == MediaKind::kAudio) {
      object.natural("sample_rate", attachment.sample_rate);
    }
    object.text("bytes", attachment.base64);
  }
  object.end();
}

void append_tool(std::string& out, const Tool& tool) {
  JsonObjectWriter object(out);
  object.text("name", tool.name);
  object.text("description", tool.description);
  object.key("input_schema") += tool.input_schema;
  object.end();
}

void append_tool_choice(std::string& out, const ToolChoice& choice) {
  if (choice.mode != ToolChoice::Mode::kNamed) return append_json_text(out, name_of(kToolChoices, choice.mode));
  JsonObjectWriter object(out);
  object.text("type", "tool");
  object.text("name", choice.name);
  object.end();
}

void begin_frame(std::string& out, std::string_view type, std::string_view id) {
  out += "{\"type\":\"";
  out += type;
  out += "\",\"id\":";
  append_json_text(out, id);
}

}  // namespace

std::variant<GenerateRequest, DecodeFailure> decode_request(std::string_view line) {
  thread_local JsonDocument reused;
  JsonDocument large;  // its memory goes back at once
  GenerateRequest request;
  request.surface = Surface::kV2;
  auto fields = open_request(line.size() > kInlineParseBytes ? large : reused, line, kRequestFields, request.id);
  if (!fields) return std::move(fields.error());
  if (auto read = read_request(*fields, request); !read) return DecodeFailure{std::move(request.id), std::move(read.error().message)};
  return request;
}

Status validate(const GenerateRequest& request) {
  if (request.messages.empty()) return refuse_request("messages must not be empty");
  const auto kinds = check_attachments(request.attachments);
  if (!kinds) return std::unexpected(kinds.error());
  std::set<std::string_view> tools;
  for (const Tool& tool : request.tools) {
    if (!tools.insert(tool.name).second) return refuse_request("duplicate tool name: " + std::string(shown(tool.name)));
  }
  for (size_t i = 0; i < request.messages.size(); ++i) {
    const Message& message = request.messages[i];
    if (message.content.empty()) return refuse_request("messages[" + std::to_string(i) + "].content must not be empty");
    if (auto checked = check_blocks(message.content, i, *kinds); !checked) return checked;
  }
  if (auto checked = check_shared_fields(request); !checked) return checked;
  return check_tool_choice(request, tools);
}

void append_request(std::string& out, const GenerateRequest& request) {
  JsonObjectWriter object(out);
  if (!request.id.empty()) object.text("id", request.id);
  append_array(object.key("messages"), request.messages, append_message);
  if (!request.attachments.empty()) append_array(object.key("attachments"), request.attachments, append_attachment);
  if (!request.tools.empty()) append_array(object.key("tools"), request.tools, append_tool);
  append_sampling(object, request.sampling, request.max_tokens, request.stream);
  append_additive_fields(object, request);
  if (request.tool_choice) append_tool_choice(object.key("tool_choice"), *request.tool_choice);
  if (request.json_schema) {
    JsonObjectWriter format(object.key("response_format"));
    format.text("type", "json_schema");
    format.key("schema") += *request.json_schema;
    format.end();
  }
  object.end();
}

Status append_piece(std::string& out, std::string_view id, const Piece& piece) {
  const size_t begin = out.size();
  begin_frame(out, "frame", id);
  out += ",\"block\":";
  if (piece.kind == Piece::Kind::kToolCall) {
    JsonObjectWriter block(out);
    block.text("type", "tool_use");
    block.text("tool_call_id", piece.call.id);
    block.text("name", piece.call.name);
    block.key("input") += piece.call.input;
    block.end();
  } else {
    out += piece.kind == Piece::Kind::kText ? "{\"type\":\"text\",\"delta\":" : "{\"type\":\"thinking\",\"delta\":";
    append_json_text(out, piece.text);
    out += '}';
  }
  return end_frame(out, begin);
}

Status append_done(std::string& out, std::string_view id, const Completion& completion, std::string_view backend, std::string_view route) {
  const size_t begin = out.size();
  begin_frame(out, "done", id);
  out += ',';
  append_usage(out, kUsageNames, completion.usage);
  out += ",\"stop_reason\":\"";
  out += stop_reason_name(completion.stop_reason);
  out += "\",\"backend\":";
  append_json_text(out, backend);
  out += ",\"route\":";
  append_json_text(out, route);
  if (completion.tool_choice_unsatisfied) out += ",\"tool_choice_unsatisfied\":true";
  return end_frame(out, begin);
}

std::string_view stop_reason_name(StopReason reason) { return name_of(kStopReasons, reason); }

bool is_terminal(const Response& response) {
  return std::holds_alternative<Done>(response) || std::holds_alternative<Failure>(response);
}

Result<Response> decode_response(std::string_view line) {
  JsonDocument document;
  if (auto parsed = document.parse(line); !parsed) return std::unexpected(std::move(parsed.error()));
  auto reply = open_reply(document, kReplyFields);
  if (!reply) return std::unexpected(std::move(reply.error()));
  JsonFields& fields = reply->fields;
  if (reply->type == "frame") {
    const auto& block = fields.find(kBlock);
    if (!block) return fail(Code::kInvalidRequest, "missing field `block`");
    auto piece = read_piece(*block);
    if (!piece) return std::unexpected(std::move(piece.error()));
    return Frame{std::move(reply->id), std::move(*piece)};
  }
  if (reply->type == "error") return read_failure(*reply);
  if (reply->type == "status") return read_status(*reply);
  if (reply->type != "done") return fail(Code::kInvalidRequest, "unknown frame type `" + std::string(cut_utf8(reply->type, 64)) + "`");
  Done done{.id = std::move(reply->id), .completion = {}, .backend = {}, .route = {}};
  std::string stop_reason;
  if (!fields.text(reply_field::kStopReason, stop_reason, true) || !fields.text(reply_field::kBackend, done.backend, true) ||
      !fields.text(reply_field::kRoute, done.route, false) ||
      !fields.boolean(kToolChoiceUnsatisfied, done.completion.tool_choice_unsatisfied)) {
    return std::unexpected(fields.error());
  }
  const auto reason = value_of(kStopReasons, stop_reason);
  if (!reason) return fail(Code::kInvalidRequest, unknown_variant("stop_reason", kStopReasons, stop_reason));
  done.completion.stop_reason = *reason;
  auto usage = read_usage(*reply, kUsageNames);
  if (!usage) return std::unexpected(std::move(usage.error()));
  done.completion.usage = *usage;
  return done;
}

}  // namespace inferd::wire::v2
