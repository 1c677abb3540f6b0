#include "config/json_tree.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <utility>

#include "base/utf8.h"

namespace inferd {
namespace {

namespace json = boost::json;
constexpr size_t kMaxDepth = 127;      // as on the wire (spec 01 §2.3)
constexpr size_t kMaxValues = 100'000;  // a value costs 100 bytes here and as few as 2 in the text

// The handler of basic_parser. The whole text is given at once, so a number comes in one part.
struct TreeBuilder {
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);

  JsonTree root = {};
  std::vector<JsonTree> open = {};  // arrays and objects that have not ended
  std::string part = {};            // of the string or key that is being read
  size_t values = 0;
  bool too_many = false;

  using error_code = boost::system::error_code;
  using string_view = json::string_view;

  bool count(error_code& error) {
    if (++values <= kMaxValues) return true;
    too_many = true;
    error = json::error::syntax;
    return false;
  }
  void place(JsonTree value) {
    if (open.empty()) {
      root = std::move(value);
    } else {
      open.back().elements.push_back(std::move(value));
    }
  }
  bool scalar(JsonTree value, error_code& error) {
    place(std::move(value));
    return count(error);
  }
  bool number(string_view literal, error_code& error) {
    return scalar({.type = JsonTree::Type::kNumber, .text = std::string(literal.data(), literal.size())}, error);
  }
  bool begin(JsonTree::Type type, error_code& error) {
    open.push_back({.type = type});
    return count(error);
  }
  bool end() {
    JsonTree value = std::move(open.back());
    open.pop_back();
    place(std::move(value));
    return true;
  }
  bool add_part(string_view text) {
    part.append(text.data(), text.size());
    return true;
  }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code& error) { return begin(JsonTree::Type::kObject, error); }
  bool on_object_end(size_t, error_code&) { return end(); }
  bool on_array_begin(error_code& error) { return begin(JsonTree::Type::kArray, error); }
  bool on_array_end(size_t, error_code&) { return end(); }
  bool on_key_part(string_view text, size_t, error_code&) { return add_part(text); }
  bool on_key(string_view text, size_t, error_code&) {
    add_part(text);
    open.back().keys.push_back(std::exchange(part, {}));
    return true;
  }
  bool on_string_part(string_view text, size_t, error_code&) { return add_part(text); }
  bool on_string(string_view text, size_t, error_code& error) {
    add_part(text);
    return scalar({.type = JsonTree::Type::kText, .text = std::exchange(part, {})}, error);
  }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(int64_t, string_view literal, error_code& error) { return number(literal, error); }
  bool on_uint64(uint64_t, string_view literal, error_code& error) { return number(literal, error); }
  bool on_double(double, string_view literal, error_code& error) { return number(literal, error); }
  bool on_bool(bool value, error_code& error) { return scalar({.type = JsonTree::Type::kBool, .boolean = value}, error); }
  bool on_null(error_code& error) { return scalar({}, error); }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }
};

std::unexpected<Error> fail_at(const std::string& what, std::string_view text, size_t at) {
  const std::string_view before = text.substr(0, at);
  const auto line = 1 + std::ranges::count(before, '\n');
  const size_t line_end = before.rfind('\n');
  const size_t column = line_end == std::string_view::npos ? at + 1 : at - line_end;
  return fail(Code::kIntegrity, what + " at line " + std::to_string(line) + " column " + std::to_string(column));
}

// A line feed is never a part of a longer character, so each line can be looked at alone.
Status check_utf8(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) return fail_at("a byte order mark (save the file as UTF-8 without it)", text, 0);
  for (size_t at = 0; at < text.size();) {
    const size_t length = std::min(text.find('\n', at), text.size()) - at;
    if (!is_valid_utf8(text.substr(at, length))) return fail_at("no valid UTF-8 in the line", text, at);
    at += length + 1;
  }
  return {};
}

std::string reason(const TreeBuilder& builder, const boost::system::error_code& error) {
  if (builder.too_many) return "more than " + std::to_string(kMaxValues) + " values";
  if (error == json::error::incomplete) return "the text ends before its last value does (is the file cut?)";
  if (error == json::error::extra_data) return "something follows after the value";
  if (error == json::error::too_deep) return "more than " + std::to_string(kMaxDepth) + " nested arrays and objects";
  return error.message();
}

}  // namespace

Result<JsonTree> parse_json_tree(std::string_view text) {
  if (auto checked = check_utf8(text); !checked) return std::unexpected(checked.error());
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::basic_parser<TreeBuilder> parser(options, TreeBuilder{});
  boost::system::error_code error;
  const size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (!error && used < text.size()) error = json::error::extra_data;
  if (error) return fail_at(reason(parser.handler(), error), text, used);
  return std::move(parser.handler().root);
}

}  // namespace inferd
