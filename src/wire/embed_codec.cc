#include "wire/embed_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "base/json_text.h"
#include "base/utf8.h"
#include "request/limits.h"
#include "wire/json_fields.h"
#include "wire/json_object_writer.h"
#include "wire/name_table.h"
#include "wire/request_fields.h"

namespace inferd::wire::embed {
namespace {

using namespace std::string_view_literals;

// The enums are the places of these names.
constexpr std::array kRequestFields = {"id"sv, "input"sv, "dimensions"sv, "task"sv, "local_only"sv};
enum RequestField : size_t { kId, kInput, kDimensions, kTask, kLocalOnly };
constexpr auto kReplyFields = field_names(
    reply_field::kErrorNames, std::array{"embeddings"sv, "dimensions"sv, "model"sv, "usage"sv, "backend"sv, "route"sv});
enum ReplyField : size_t { kEmbeddings = reply_field::kErrorCount, kReplyDimensions, kModel, kUsage, kBackend, kRoute };
constexpr std::array kUsageFields = {"input_tokens"sv};

constexpr std::array kTasks = {std::pair(EmbedTask::kRetrievalQuery, "retrieval_query"sv),
                               std::pair(EmbedTask::kRetrievalDocument, "retrieval_document"sv),
                               std::pair(EmbedTask::kSimilarity, "similarity"sv),
                               std::pair(EmbedTask::kClassification, "classification"sv),
                               std::pair(EmbedTask::kClustering, "clustering"sv),
                               std::pair(EmbedTask::kQuestionAnswering, "question_answering"sv),
                               std::pair(EmbedTask::kFactVerification, "fact_verification"sv),
                               std::pair(EmbedTask::kCodeRetrievalQuery, "code_retrieval_query"sv)};

// Numbers.

constexpr size_t kMaxFloatChars = 20;                     // "-0.00000123456789" has 17
constexpr int kLeastFixed = -6, kGreatestFixed = 12;      // decimal exponents in fixed notation (spec 03 §5)
constexpr size_t kMaxReplyValues = kMaxFrameBytes / 4;    // "0.0," is the shortest number

// The form of spec 03 §5; `at` has room for kMaxFloatChars. Returns the end.
char* write_float(char* at, float value) {
  if (!std::isfinite(value)) return std::ranges::copy("null"sv, at).out;
  if (std::signbit(value)) *at++ = '-';
  char text[kMaxFloatChars];  // "d.dddde-07": the shortest digits; a float's exponent always has two
  char* const end = std::to_chars(text, text + sizeof text, std::fabs(value), std::chars_format::scientific).ptr - 4;
  const int size = (end[2] - '0') * 10 + (end[3] - '0');
  const int exponent = end[1] == '-' ? -size : size;
  if (exponent < kLeastFixed || exponent > kGreatestFixed) {
    at = std::copy(text, end, at);
    *at++ = 'e';
    *at++ = end[1];
    return std::to_chars(at, at + 2, size).ptr;
  }
  const char* digits = text;
  if (end - text > 1) {
    text[1] = text[0];  // over the point
    ++digits;
  }
  if (exponent < 0) {
    *at++ = '0';
    *at++ = '.';
    at = std::fill_n(at, -exponent - 1, '0');
    return std::copy(digits, static_cast<const char*>(end), at);
  }
  const auto whole = std::min<std::ptrdiff_t>(end - digits, exponent + 1);
  at = std::copy_n(digits, whole, at);
  at = std::fill_n(at, exponent + 1 - whole, '0');
  *at++ = '.';
  if (whole == end - digits) *at++ = '0';
  return std::copy(digits + whole, static_cast<const char*>(end), at);
}

void append_vector(std::string& out, std::span<const float> vector) {
  char chunk[4096];
  char* at = chunk;
  *at++ = '[';
  for (const float value : vector) {
    if (static_cast<size_t>(chunk + sizeof chunk - at) < kMaxFloatChars + 1) {
      out.append(chunk, at);
      at = chunk;
    }
    at = write_float(at, value);
    *at++ = ',';
  }
  out.append(chunk, at);
  out.back() = ']';
}

// The mean number of characters, its comma included, of a part of a normalised vector with normally distributed parts, in hundredths.
// Measured: 11.36 for 8 parts, 11.97 for 128, 12.37 for 768, 12.70 for 4,096, 13.34 for 65,536; this gives 1.5 to 3 % less.
uint64_t hundredth_chars(uint32_t dimensions) { return 1061 + 14 * static_cast<uint64_t>(std::bit_width(dimensions)); }

// Rounded up, so that what is above the limit is shown above it.
std::string mib_text(uint64_t bytes) {
  const uint64_t tenths = (bytes * 10 + (1 << 20) - 1) >> 20;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MiB";
}

Result<float> read_float(JsonValue value, const auto& where) {
  using Type = JsonValue::Type;
  constexpr double kMax = std::numeric_limits<float>::max();
  const bool number = value.type() == Type::kInteger || value.type() == Type::kUnsigned || value.type() == Type::kDouble;
  // The shortest text of the greatest float is a little above it as a double.
  if (!number || !(std::fabs(value.number()) <= kMax * (1 + 2e-8))) {
    return fail(Code::kInvalidRequest, "invalid type: field " + where() + ": expected a number within the range of a float");
  }
  return static_cast<float>(std::clamp(value.number(), -kMax, kMax));
}

Result<std::vector<float>> read_vectors(JsonValue rows, uint32_t dimensions) {
  std::vector<float> values;
  size_t row_number = 0;
  for (const JsonValue row : rows) {
    const auto where = [&] { return "`embeddings[" + std::to_string(row_number) + "]`"; };
    if (row.type() != JsonValue::Type::kArray || row.size() != dimensions) {
      return fail(Code::kInvalidRequest, "invalid type: field " + where() + ": expected an array of " + std::to_string(dimensions) + " numbers");
    }
    for (const JsonValue value : row) {
      auto number = read_float(value, where);
      if (!number) return std::unexpected(std::move(number.error()));
      values.push_back(*number);
    }
    ++row_number;
  }
  return values;
}

}  // namespace

std::optional<EmbedTask> task_from_name(std::string_view name) { return value_of(kTasks, name); }

std::variant<EmbedRequest, DecodeFailure> decode_request(std::string_view line) {
  thread_local JsonDocument reused;
  JsonDocument large;  // its memory goes back at once
  EmbedRequest request;
  auto fields = open_request(line.size() > kInlineParseBytes ? large : reused, line, kRequestFields, request.id);
  if (!fields) return std::move(fields.error());
  std::optional<std::string> task;
  const bool read = fields->texts(kInput, request.input, true) && fields->u32(kDimensions, request.dimensions) &&
                    fields->optional_text(kTask, task) && fields->boolean(kLocalOnly, request.local_only);
  if (!read) return DecodeFailure{std::move(request.id), fields->error().message};
  // An unknown task is a wrong value of the right type: the connection stays open, so validate() has to see it.
  if (task) request.task = task_from_name(*task).value_or(EmbedTask::kUnknown);
  return request;
}

Status validate(const EmbedRequest& request) {
  if (request.input.empty()) return refuse_request("input must not be empty");
  for (size_t i = 0; i < request.input.size(); ++i) {
    if (request.input[i].empty()) return refuse_request("input[" + std::to_string(i) + "] must not be empty");
  }
  if (request.task == EmbedTask::kUnknown) return refuse_request("task uses an unknown variant");
  if (request.dimensions == 0u) return refuse_request("dimensions must be at least 1");
  return {};
}

Status fits_one_frame(const EmbedRequest& request, uint32_t dimensions) {
  const uint64_t bytes = request.input.size() * (dimensions * hundredth_chars(dimensions) / 100 + 3);
  if (bytes < kMaxFrameBytes) return {};
  return fail(Code::kInvalidRequest, "the answer to " + std::to_string(request.input.size()) + " inputs of " + std::to_string(dimensions) +
                                         " dimensions has about " + mib_text(bytes) + ", a frame holds less than " +
                                         mib_text(kMaxFrameBytes) + ": send fewer inputs at once, or ask for fewer dimensions");
}

void append_request(std::string& out, const EmbedRequest& request) {
  JsonObjectWriter object(out);
  if (!request.id.empty()) object.text("id", request.id);
  object.key("input") += '[';
  for (const std::string& text : request.input) {
    if (out.back() != '[') out += ',';
    append_json_text(out, text);
  }
  out += ']';
  if (request.dimensions) object.natural("dimensions", *request.dimensions);
  if (request.task) object.text("task", *request.task == EmbedTask::kUnknown ? "other" : name_of(kTasks, *request.task));
  if (request.local_only) object.flag("local_only", true);
  object.end();
}

Status append_embeddings(std::string& out, std::string_view id, const Embeddings& embeddings, std::string_view backend,
                         std::string_view route) {
  const size_t begin = out.size();
  const size_t dimensions = embeddings.dimensions;
  const std::span<const float> values = embeddings.values;
  out.reserve(begin + values.size() * 13 + 1024);  // most of it at once: doubling would copy and hold twice as much
  out += "{\"type\":\"embeddings\",\"id\":";
  append_json_text(out, id);
  out += ",\"embeddings\":[";
  for (size_t i = 0; dimensions > 0 && i + dimensions <= values.size(); i += dimensions) {
    if (i > 0) out += ',';
    append_vector(out, values.subspan(i, dimensions));
  }
  out += "],\"dimensions\":";
  append_json_number(out, uint64_t{dimensions});
  out += ",\"model\":";
  append_json_text(out, to_valid_utf8(embeddings.model));  // from a model file, which may hold any bytes
  out += ",\"usage\":{\"input_tokens\":";
  append_json_number(out, uint64_t{embeddings.input_tokens});
  out += "},\"backend\":";
  append_json_text(out, backend);
  out += ",\"route\":";
  append_json_text(out, route);
  return end_frame(out, begin);
}

Result<Response> decode_response(std::string_view line) {
  JsonDocument document;
  if (auto parsed = document.parse(line, kMaxReplyValues); !parsed) return std::unexpected(std::move(parsed.error()));
  auto reply = open_reply(document, kReplyFields);
  if (!reply) return std::unexpected(std::move(reply.error()));
  if (reply->type == "error") return read_failure(*reply);
  if (reply->type != "embeddings") {
    return fail(Code::kInvalidRequest, "unknown frame type `" + std::string(cut_utf8(reply->type, 64)) + "`");
  }
  JsonFields& fields = reply->fields;
  Vectors vectors{.id = std::move(reply->id), .embeddings = {}, .backend = {}, .route = {}};
  Embeddings& embeddings = vectors.embeddings;
  const auto rows = fields.array(kEmbeddings, true);
  if (!rows || !fields.required_u32(kReplyDimensions, embeddings.dimensions) || !fields.text(kModel, embeddings.model, true) ||
      !fields.text(kBackend, vectors.backend, true) || !fields.text(kRoute, vectors.route, false)) {
    return std::unexpected(fields.error());
  }
  const auto usage_value = fields.find(kUsage);
  if (!usage_value) return fail(Code::kInvalidRequest, "missing field `usage`");
  auto usage = JsonFields::of(*usage_value, "usage", kUsageFields);
  if (!usage) return std::unexpected(std::move(usage.error()));
  if (!usage->required_u32(0, embeddings.input_tokens)) return std::unexpected(usage->error());
  auto values = read_vectors(*rows, embeddings.dimensions);
  if (!values) return std::unexpected(std::move(values.error()));
  embeddings.values = std::move(*values);
  return vectors;
}

}  // namespace inferd::wire::embed
