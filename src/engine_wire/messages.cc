#include "engine_wire/messages.h"

#include <cstring>
#include <utility>

#include "engine_wire/bytes.h"

namespace inferd::engine_wire {
namespace {

constexpr uint8_t kMaxMediaKind = static_cast<uint8_t>(MediaKind::kUnknown);
constexpr uint8_t kMaxChoice = static_cast<uint8_t>(ToolChoice::Mode::kUnknown);
constexpr uint8_t kMaxSurface = static_cast<uint8_t>(Surface::kV2);
constexpr uint8_t kMaxPieceKind = static_cast<uint8_t>(Piece::Kind::kToolCall);
constexpr uint8_t kMaxRole = static_cast<uint8_t>(Role::kAssistant);
constexpr uint8_t kMaxStopReason = static_cast<uint8_t>(StopReason::kError);
constexpr uint8_t kMaxCode = static_cast<uint8_t>(Code::kIntegrity);

// put and get of each message, side by side. get returns false for a value out of range.

void put(ByteWriter& w, const Usage& u) {
  w.put(u.prompt_tokens);
  w.put(u.completion_tokens);
  w.put(u.cached_prompt_tokens);
}
bool get(ByteReader& r, Usage& u) {
  u.prompt_tokens = r.get<uint32_t>();
  u.completion_tokens = r.get<uint32_t>();
  u.cached_prompt_tokens = r.get<uint32_t>();
  return true;
}

void put(ByteWriter& w, const Load& m) {
  w.put(m.n_ctx);
  w.put(m.sequences);
  w.put(m.kv_cells);
  w.put(m.threads);
  w.put(m.host_cache_bytes);
  w.put(m.long_step_ms);
  w.put(m.embed);
  w.put(m.embed_pooling);
  w.put(m.embed_n_ctx);
  w.put(m.has_turnstile);
  w.put(m.has_projector);
  w.put(m.image_max_tokens);
}
bool get(ByteReader& r, Load& m) {
  m.n_ctx = r.get<uint32_t>();
  m.sequences = r.get<uint32_t>();
  m.kv_cells = r.get<uint32_t>();
  m.threads = r.get<uint32_t>();
  m.host_cache_bytes = r.get<uint64_t>();
  m.long_step_ms = r.get<uint32_t>();
  m.embed = r.get<uint8_t>() != 0;
  m.embed_pooling = r.get<int32_t>();
  m.embed_n_ctx = r.get<uint32_t>();
  m.has_turnstile = r.get<uint8_t>() != 0;
  m.has_projector = r.get<uint8_t>() != 0;
  m.image_max_tokens = r.get<uint32_t>();
  return true;
}

template <class T>
void put_optional(ByteWriter& w, const std::optional<T>& value) {
  w.put(value.has_value());
  w.put(value.value_or(T()));
}
template <class T>
void get_optional(ByteReader& r, std::optional<T>& value) {
  const bool there = r.get<uint8_t>() != 0;
  const T read = r.get<T>();
  if (there) value = read;
}

// The type byte of a block is its place in the variant.
void put(ByteWriter& w, const std::vector<Block>& blocks) {
  w.put(static_cast<uint32_t>(blocks.size()));
  for (const Block& block : blocks) {
    w.put(static_cast<uint8_t>(block.held.index()));
    if (const auto* text = std::get_if<TextBlock>(&block.held)) {
      w.put_text(text->text);
    } else if (const auto* media = std::get_if<MediaBlock>(&block.held)) {
      w.put(static_cast<uint8_t>(media->kind));
      w.put_text(media->attachment_id);
    } else if (const auto* use = std::get_if<ToolUseBlock>(&block.held)) {
      w.put_text(use->tool_call_id);
      w.put_text(use->name);
      w.put_text(use->input);
    } else if (const auto* result = std::get_if<ToolResultBlock>(&block.held)) {
      w.put_text(result->tool_call_id);
      put(w, result->content);
    }
  }
}
bool get(ByteReader& r, std::vector<Block>& blocks) {
  for (uint32_t n = r.get_count(); n > 0; --n) {
    auto& held = blocks.emplace_back().held;
    switch (r.get<uint8_t>()) {
      case 0: held = TextBlock{std::string(r.get_text())}; break;
      case 1: {
        const auto kind = r.get<uint8_t>();
        if (kind > kMaxMediaKind) return false;
        held = MediaBlock{static_cast<MediaKind>(kind), std::string(r.get_text())};
        break;
      }
      case 2: {
        auto& use = held.emplace<ToolUseBlock>();
        use.tool_call_id = r.get_text();
        use.name = r.get_text();
        use.input = r.get_text();
        break;
      }
      case 3: {
        auto& result = held.emplace<ToolResultBlock>();
        result.tool_call_id = r.get_text();
        if (!get(r, result.content)) return false;
        break;
      }
      case 4: held = UnknownBlock{}; break;
      default: return false;
    }
  }
  return true;
}

void put(ByteWriter& w, const Attachment& a) {
  w.put(static_cast<uint8_t>(a.kind));
  w.put_text(a.id);
  w.put(a.width);
  w.put(a.height);
  w.put(a.sample_rate);
  w.put_text(a.base64);
}
bool get(ByteReader& r, Attachment& a) {
  const auto kind = r.get<uint8_t>();
  a.kind = static_cast<MediaKind>(kind);
  a.id = r.get_text();
  a.width = r.get<uint32_t>();
  a.height = r.get<uint32_t>();
  a.sample_rate = r.get<uint32_t>();
  a.base64 = r.get_text();
  return kind <= kMaxMediaKind;
}

// What only v2 has.
void put_typed(ByteWriter& w, const GenerateRequest& q) {
  w.put(static_cast<uint32_t>(q.attachments.size()));
  for (const Attachment& attachment : q.attachments) put(w, attachment);
  w.put(static_cast<uint32_t>(q.tools.size()));
  for (const Tool& tool : q.tools) {
    w.put_text(tool.name);
    w.put_text(tool.description);
    w.put_text(tool.input_schema);
  }
  w.put(q.tool_choice.has_value());
  if (q.tool_choice) {
    w.put(static_cast<uint8_t>(q.tool_choice->mode));
    w.put_text(q.tool_choice->name);
  }
  w.put(q.json_schema.has_value());
  if (q.json_schema) w.put_text(*q.json_schema);
}
bool get_typed(ByteReader& r, GenerateRequest& q) {
  for (uint32_t n = r.get_count(); n > 0; --n) {
    if (!get(r, q.attachments.emplace_back())) return false;
  }
  for (uint32_t n = r.get_count(); n > 0; --n) {
    Tool& tool = q.tools.emplace_back();
    tool.name = r.get_text();
    tool.description = r.get_text();
    tool.input_schema = r.get_text();
  }
  if (r.get<uint8_t>() != 0) {
    const auto mode = r.get<uint8_t>();
    if (mode > kMaxChoice) return false;
    q.tool_choice = ToolChoice{static_cast<ToolChoice::Mode>(mode), std::string(r.get_text())};
  }
  if (r.get<uint8_t>() != 0) q.json_schema = r.get_text();
  return true;
}

void put(ByteWriter& w, const Prepare& m) {
  w.put(m.id);
  w.put(m.scope);
  const GenerateRequest& q = m.request;
  w.put(static_cast<uint8_t>(q.surface));
  for (const uint64_t level : q.flow) w.put(level);
  w.put(static_cast<uint8_t>(q.priority == Priority::kBatch));
  w.put(static_cast<uint32_t>(q.messages.size()));
  for (const Message& message : q.messages) {
    w.put(static_cast<uint8_t>(message.role));
    put(w, message.content);
  }
  put_optional(w, q.sampling.temperature);
  put_optional(w, q.sampling.top_p);
  put_optional(w, q.sampling.top_k);
  put_optional(w, q.sampling.seed);
  put_optional(w, q.max_tokens);
  w.put_text(q.grammar);
  w.put(static_cast<uint32_t>(q.stop.size()));
  for (const std::string& text : q.stop) w.put_text(text);
  put_typed(w, q);
}
bool get(ByteReader& r, Prepare& m) {
  m.id = r.get<uint64_t>();
  m.scope = r.get<uint64_t>();
  GenerateRequest& q = m.request;
  const auto surface = r.get<uint8_t>();
  if (surface > kMaxSurface) return false;
  q.surface = static_cast<Surface>(surface);
  for (uint64_t& level : q.flow) level = r.get<uint64_t>();
  q.priority = r.get<uint8_t>() != 0 ? Priority::kBatch : Priority::kInteractive;
  for (uint32_t n = r.get_count(); n > 0; --n) {
    const auto role = r.get<uint8_t>();
    if (role > kMaxRole) return false;
    Message& message = q.messages.emplace_back();
    message.role = static_cast<Role>(role);
    if (!get(r, message.content)) return false;
  }
  get_optional(r, q.sampling.temperature);
  get_optional(r, q.sampling.top_p);
  get_optional(r, q.sampling.top_k);
  get_optional(r, q.sampling.seed);
  get_optional(r, q.max_tokens);
  q.grammar = r.get_text();
  for (uint32_t n = r.get_count(); n > 0; --n) q.stop.emplace_back(r.get_text());
  return get_typed(r, q);
}

void put(ByteWriter& w, const Embed& m) {
  w.put(m.id);
  w.put(static_cast<uint32_t>(m.input.size()));
  for (const std::string& text : m.input) w.put_text(text);
  put_optional(w, m.dimensions);
}
bool get(ByteReader& r, Embed& m) {
  m.id = r.get<uint64_t>();
  for (uint32_t n = r.get_count(); n > 0; --n) m.input.emplace_back(r.get_text());
  get_optional(r, m.dimensions);
  return true;
}

void put(ByteWriter& w, const Start& m) {
  w.put(m.id);
  w.put(static_cast<uint8_t>(m.promoted));
}
bool get(ByteReader& r, Start& m) {
  m.id = r.get<uint64_t>();
  m.promoted = r.get<uint8_t>() != 0;
  return true;
}

template <class WithId>
  requires requires(WithId m) { m.id; } && (sizeof(WithId) == sizeof(uint64_t))
void put(ByteWriter& w, const WithId& m) {
  w.put(m.id);
}
template <class WithId>
  requires requires(WithId m) { m.id; } && (sizeof(WithId) == sizeof(uint64_t))
bool get(ByteReader& r, WithId& m) {
  m.id = r.get<uint64_t>();
  return true;
}

void put(ByteWriter& w, const Variant& m) { w.put_text(m.name); }
bool get(ByteReader& r, Variant& m) {
  m.name = r.get_text();
  return true;
}
void put(ByteWriter&, const Proven&) {}
bool get(ByteReader&, Proven&) { return true; }
void put(ByteWriter& w, const Loading& m) { w.put(m.percent); }
bool get(ByteReader& r, Loading& m) {
  m.percent = r.get<uint32_t>();
  return m.percent <= 100;
}

void put(ByteWriter& w, const Loaded& m) {
  w.put_text(m.model_name);
  w.put(m.n_ctx);
  w.put(m.sequences);
  w.put(m.kv_cells);
  w.put(m.n_ctx_train);
  w.put(m.longest_token);
  for (const bool can : {m.text, m.tools, m.thinking, m.vision, m.audio}) w.put(can);
  w.put(m.embed_width);
  w.put(m.embed_n_ctx);
}
bool get(ByteReader& r, Loaded& m) {
  m.model_name = r.get_text();
  m.n_ctx = r.get<uint32_t>();
  m.sequences = r.get<uint32_t>();
  m.kv_cells = r.get<uint32_t>();
  m.n_ctx_train = r.get<uint32_t>();
  m.longest_token = r.get<uint32_t>();
  for (bool* can : {&m.text, &m.tools, &m.thinking, &m.vision, &m.audio}) *can = r.get<uint8_t>() != 0;
  m.embed_width = r.get<uint32_t>();
  m.embed_n_ctx = r.get<uint32_t>();
  return m.longest_token > 0;
}

void put(ByteWriter& w, const Prepared& m) {
  w.put(m.id);
  w.put(m.prompt_tokens);
}
bool get(ByteReader& r, Prepared& m) {
  m.id = r.get<uint64_t>();
  m.prompt_tokens = r.get<uint32_t>();
  return true;
}

void put(ByteWriter& w, const Refused& m) {
  w.put(m.id);
  w.put(static_cast<uint8_t>(m.code));
  w.put_text(m.message);
}
bool get(ByteReader& r, Refused& m) {
  m.id = r.get<uint64_t>();
  const auto code = r.get<uint8_t>();
  m.code = static_cast<Code>(code);
  m.message = r.get_text();
  return code <= kMaxCode;
}

void put(ByteWriter& w, const Piece& p) {
  w.put(static_cast<uint8_t>(p.kind));
  if (p.kind != Piece::Kind::kToolCall) return w.put_text(p.text);
  w.put_text(p.call.id);
  w.put_text(p.call.name);
  w.put_text(p.call.input);
}
bool get(ByteReader& r, Piece& p) {
  const auto kind = r.get<uint8_t>();
  if (kind > kMaxPieceKind) return false;
  p.kind = static_cast<Piece::Kind>(kind);
  if (p.kind != Piece::Kind::kToolCall) {
    p.text = r.get_text();
    return true;
  }
  p.call.id = r.get_text();
  p.call.name = r.get_text();
  p.call.input = r.get_text();
  return true;
}

void put(ByteWriter& w, const Step& m) {
  w.put(static_cast<uint32_t>(m.entries.size()));
  for (const Step::Entry& e : m.entries) {
    w.put(e.id);
    w.put(e.tokens);
    w.put(static_cast<uint32_t>(e.pieces.size()));
    for (const Piece& piece : e.pieces) put(w, piece);
    w.put(static_cast<uint8_t>(e.started));
    w.put(e.prompt_done);
    w.put(e.computed);
    w.put(static_cast<uint8_t>(e.stop_reason.has_value()));
    if (!e.stop_reason) continue;
    w.put(static_cast<uint8_t>(*e.stop_reason));
    put(w, e.usage);
    w.put(e.tool_choice_unsatisfied);
    w.put(static_cast<uint8_t>(e.error_code));
    w.put_text(e.message);
  }
}
bool get(ByteReader& r, Step& m) {
  for (uint32_t n = r.get_count(); n > 0; --n) {
    Step::Entry& e = m.entries.emplace_back();
    e.id = r.get<uint64_t>();
    e.tokens = r.get<uint32_t>();
    for (uint32_t pieces = r.get_count(); pieces > 0; --pieces) {
      if (!get(r, e.pieces.emplace_back())) return false;
    }
    e.started = r.get<uint8_t>() != 0;
    e.prompt_done = r.get<uint32_t>();
    e.computed = r.get<uint32_t>();
    if (r.get<uint8_t>() == 0) continue;
    const auto reason = r.get<uint8_t>();
    if (reason > kMaxStopReason) return false;
    e.stop_reason = static_cast<StopReason>(reason);
    get(r, e.usage);
    e.tool_choice_unsatisfied = r.get<uint8_t>() != 0;
    const auto code = r.get<uint8_t>();
    if (code > kMaxCode) return false;
    e.error_code = static_cast<Code>(code);
    e.message = r.get_text();
  }
  return true;
}

void put(ByteWriter& w, const Failed& m) { w.put_text(m.message); }
bool get(ByteReader& r, Failed& m) {
  m.message = r.get_text();
  return true;
}

void put(ByteWriter& w, const LongStep& m) { w.put(m.predicted_ms); }
bool get(ByteReader& r, LongStep& m) {
  m.predicted_ms = r.get<uint32_t>();
  return true;
}
void put(ByteWriter& w, const Warning& m) { w.put_text(m.message); }
bool get(ByteReader& r, Warning& m) {
  m.message = r.get_text();
  return true;
}

void put(ByteWriter& w, const Embedded& m) {
  w.put(m.id);
  w.put(m.dimensions);
  w.put(m.input_tokens);
  w.put_text({reinterpret_cast<const char*>(m.values.data()), m.values.size() * sizeof(float)});
}
bool get(ByteReader& r, Embedded& m) {
  m.id = r.get<uint64_t>();
  m.dimensions = r.get<uint32_t>();
  m.input_tokens = r.get<uint32_t>();
  const auto bytes = r.get_text();
  if (bytes.size() % sizeof(float) != 0) return false;
  m.values.resize(bytes.size() / sizeof(float));
  // Without values both pointers are null, which memcpy may not be given.
  if (!bytes.empty()) std::memcpy(m.values.data(), bytes.data(), bytes.size());
  return true;
}

// The type byte is the message's place in its variant.
template <class Any>
std::string encode_any(const Any& message) {
  std::string bytes;
  ByteWriter writer(bytes);
  writer.put(static_cast<uint8_t>(message.index()));
  std::visit([&](const auto& held) { put(writer, held); }, message);
  return bytes;
}

template <class Any, size_t... I>
Result<Any> decode_any(std::string_view bytes, std::index_sequence<I...>) {
  ByteReader reader(bytes);
  const auto type = reader.get<uint8_t>();
  Any message;
  bool known = false, in_range = false;
  const auto try_type = [&]<size_t index>() {
    if (type != index) return;
    known = true;
    in_range = get(reader, message.template emplace<index>());
  };
  (try_type.template operator()<I>(), ...);
  if (!known || !in_range || !reader.complete()) {
    return fail(Code::kInternal, "engine message of type " + std::to_string(type) + " cannot be read");
  }
  return message;
}

}  // namespace

std::string encode(const ToEngine& message) { return encode_any(message); }
std::string encode(const FromEngine& message) { return encode_any(message); }
Result<ToEngine> decode_to_engine(std::string_view bytes) {
  return decode_any<ToEngine>(bytes, std::make_index_sequence<std::variant_size_v<ToEngine>>());
}
Result<FromEngine> decode_from_engine(std::string_view bytes) {
  return decode_any<FromEngine>(bytes, std::make_index_sequence<std::variant_size_v<FromEngine>>());
}

}  // namespace inferd::engine_wire
