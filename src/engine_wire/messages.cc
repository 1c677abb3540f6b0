#include "engine_wire/messages.h"

#include <utility>

#include "engine_wire/bytes.h"

namespace inferd::engine_wire {
namespace {

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
}
bool get(ByteReader& r, Load& m) {
  m.n_ctx = r.get<uint32_t>();
  m.sequences = r.get<uint32_t>();
  m.kv_cells = r.get<uint32_t>();
  m.threads = r.get<uint32_t>();
  m.host_cache_bytes = r.get<uint64_t>();
  m.long_step_ms = r.get<uint32_t>();
  return true;
}

void put(ByteWriter& w, const Prepare& m) {
  w.put(m.id);
  w.put(m.scope);
  const GenerateRequest& q = m.request;
  for (const uint64_t level : q.flow) w.put(level);
  w.put(static_cast<uint8_t>(q.priority == Priority::kBatch));
  w.put(static_cast<uint32_t>(q.messages.size()));
  for (const Message& message : q.messages) {
    w.put(static_cast<uint8_t>(message.role));
    w.put_text(message.content);
  }
  w.put(q.sampling.temperature);
  w.put(q.sampling.top_p);
  w.put(q.sampling.top_k);
  w.put(static_cast<uint8_t>(q.sampling.seed.has_value()));
  w.put(q.sampling.seed.value_or(0));
  w.put(q.max_tokens);
  w.put_text(q.grammar);
  w.put(static_cast<uint32_t>(q.stop.size()));
  for (const std::string& text : q.stop) w.put_text(text);
}
bool get(ByteReader& r, Prepare& m) {
  m.id = r.get<uint64_t>();
  m.scope = r.get<uint64_t>();
  GenerateRequest& q = m.request;
  for (uint64_t& level : q.flow) level = r.get<uint64_t>();
  q.priority = r.get<uint8_t>() != 0 ? Priority::kBatch : Priority::kInteractive;
  for (uint32_t n = r.get_count(); n > 0; --n) {
    const auto role = r.get<uint8_t>();
    if (role > kMaxRole) return false;
    q.messages.push_back({static_cast<Role>(role), std::string(r.get_text())});
  }
  q.sampling.temperature = r.get<double>();
  q.sampling.top_p = r.get<double>();
  q.sampling.top_k = r.get<uint32_t>();
  const bool seeded = r.get<uint8_t>() != 0;
  const auto seed = r.get<uint32_t>();
  if (seeded) q.sampling.seed = seed;
  q.max_tokens = r.get<uint32_t>();
  q.grammar = r.get_text();
  for (uint32_t n = r.get_count(); n > 0; --n) q.stop.emplace_back(r.get_text());
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
}
bool get(ByteReader& r, Loaded& m) {
  m.model_name = r.get_text();
  m.n_ctx = r.get<uint32_t>();
  m.sequences = r.get<uint32_t>();
  m.kv_cells = r.get<uint32_t>();
  m.n_ctx_train = r.get<uint32_t>();
  m.longest_token = r.get<uint32_t>();
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

void put(ByteWriter& w, const Step& m) {
  w.put(static_cast<uint32_t>(m.entries.size()));
  for (const Step::Entry& e : m.entries) {
    w.put(e.id);
    w.put(e.tokens);
    w.put_text(e.text);
    w.put(static_cast<uint8_t>(e.started));
    w.put(e.prompt_done);
    w.put(e.computed);
    w.put(static_cast<uint8_t>(e.stop_reason.has_value()));
    if (!e.stop_reason) continue;
    w.put(static_cast<uint8_t>(*e.stop_reason));
    put(w, e.usage);
    w.put(static_cast<uint8_t>(e.error_code));
  }
}
bool get(ByteReader& r, Step& m) {
  for (uint32_t n = r.get_count(); n > 0; --n) {
    Step::Entry& e = m.entries.emplace_back();
    e.id = r.get<uint64_t>();
    e.tokens = r.get<uint32_t>();
    e.text = r.get_text();
    e.started = r.get<uint8_t>() != 0;
    e.prompt_done = r.get<uint32_t>();
    e.computed = r.get<uint32_t>();
    if (r.get<uint8_t>() == 0) continue;
    const auto reason = r.get<uint8_t>();
    if (reason > kMaxStopReason) return false;
    e.stop_reason = static_cast<StopReason>(reason);
    get(r, e.usage);
    const auto code = r.get<uint8_t>();
    if (code > kMaxCode) return false;
    e.error_code = static_cast<Code>(code);
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
