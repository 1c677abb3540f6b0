#include "engine/schema_check.h"

#include <gtest/gtest.h>
#include <llama.h>

#include <cctype>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace inferd::engine {
namespace {

// Whether a grammar, as llama.cpp's converter writes it, has a text in its language. Goes forward with sets of places in the text.
class Grammar {
 public:
  explicit Grammar(const std::string& gbnf) {
    std::istringstream lines(gbnf);
    for (std::string line; std::getline(lines, line);) {
      const size_t at = line.find(" ::= ");
      rules_[line.substr(0, at)] = line.substr(at + 5);
    }
  }

  bool has(const std::string& text) {
    text_.clear();
    for (size_t at = 0; at < text.size();) text_.push_back(character(text, at));
    return rule("root", {0}).contains(text_.size());
  }

 private:
  using Places = std::set<size_t>;

  static uint32_t character(const std::string& text, size_t& at) {
    const auto lead = static_cast<unsigned char>(text[at++]);
    if (lead < 0x80) return lead;
    uint32_t value = lead & (lead < 0xE0 ? 0x1F : lead < 0xF0 ? 0x0F : 0x07);
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) {
      value = value << 6 | (static_cast<unsigned char>(text[at++]) & 0x3F);
    }
    return value;
  }

  static uint32_t escaped(const std::string& rule, size_t& at) {
    if (rule[at] != '\\') return character(rule, at);
    const char c = rule[at + 1];
    at += 2;
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) return c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : static_cast<unsigned char>(c);
    at += digits;
    return static_cast<uint32_t>(std::stoul(rule.substr(at - digits, digits), nullptr, 16));
  }

  Places rule(const std::string& name, const Places& from) {
    size_t at = 0;
    return from.empty() ? Places() : alternatives(rules_.at(name), at, from);
  }

  Places alternatives(const std::string& rule, size_t& at, const Places& from) {
    Places ends = sequence(rule, at, from);
    while (at < rule.size() && rule[at] == '|') ends.merge(sequence(rule, ++at, from));
    return ends;
  }

  Places sequence(const std::string& rule, size_t& at, const Places& from) {
    Places now = from;
    for (;;) {
      while (at < rule.size() && rule[at] == ' ') ++at;
      if (at == rule.size() || rule[at] == '|' || rule[at] == ')') return now;
      const size_t begin = at;
      Places reached = item(rule, at, now);
      const auto [least, most] = repetition(rule, at);
      Places ends = least == 0 ? now : Places();
      for (size_t n = 1; n <= most && !reached.empty(); ++n) {
        const size_t before = ends.size();
        if (n >= least) ends.insert(reached.begin(), reached.end());
        if (n > least && ends.size() == before) break;
        size_t again = begin;
        reached = item(rule, again, reached);
      }
      now = ends;
    }
  }

  static std::pair<size_t, size_t> repetition(const std::string& rule, size_t& at) {
    const char c = at < rule.size() ? rule[at] : ' ';
    if (c == '*' || c == '+' || c == '?') {
      ++at;
      return {c == '+' ? 1 : 0, c == '?' ? 1 : SIZE_MAX};
    }
    if (c != '{') return {1, 1};
    const size_t close = rule.find('}', at);
    const std::string body = rule.substr(at + 1, close - at - 1);
    at = close + 1;
    const size_t comma = body.find(','), least = std::stoul(body);
    if (comma == std::string::npos) return {least, least};
    return {least, comma + 1 == body.size() ? SIZE_MAX : std::stoul(body.substr(comma + 1))};
  }

  Places item(const std::string& rule, size_t& at, const Places& from) {
    Places ends;
    if (rule[at] == '(') {
      ends = alternatives(rule, ++at, from);
      ++at;
    } else if (rule[at] == '"') {
      ends = from;
      for (++at; rule[at] != '"';) {
        const uint32_t expected = escaped(rule, at);
        Places next;
        for (const size_t place : ends) {
          if (place < text_.size() && text_[place] == expected) next.insert(place + 1);
        }
        ends = next;
      }
      ++at;
    } else if (rule[at] == '[') {
      const bool negated = rule[at + 1] == '^';
      std::vector<std::pair<uint32_t, uint32_t>> ranges;
      for (at += negated ? 2 : 1; rule[at] != ']';) {
        const uint32_t low = escaped(rule, at);
        const bool is_range = rule[at] == '-' && rule[at + 1] != ']';
        if (is_range) ++at;
        ranges.emplace_back(low, is_range ? escaped(rule, at) : low);
      }
      ++at;
      for (const size_t place : from) {
        bool found = false;
        for (const auto& [low, high] : ranges) found = found || (place < text_.size() && low <= text_[place] && text_[place] <= high);
        if (place < text_.size() && found != negated) ends.insert(place + 1);
      }
    } else {
      const size_t begin = at;
      while (at < rule.size() && (std::isalnum(static_cast<unsigned char>(rule[at])) != 0 || rule[at] == '-')) ++at;
      ends = this->rule(rule.substr(begin, at - begin), from);
    }
    return ends;
  }

  std::map<std::string, std::string> rules_;
  std::vector<uint32_t> text_;
};

struct Held {
  std::string schema;
  std::vector<std::string> conform = {}, do_not = {};
};

const std::vector<Held>& held() {
  static const std::vector<Held> table = {
      // types
      {R"j({})j", {"1", R"({"a":[null,"x"]})", "[]"}, {"{a}", "", "nul"}},
      {R"j({"type":"string"})j", {R"("")", R"("é\u00e9\n\"")"}, {R"("\ud83d")", R"("\uDC00")", "\"\n\"", R"("a)", "1"}},
      {R"j({"type":"number"})j", {"0", "-1.5e10", "12.25", "1E-9"}, {"01", "1e400", ".5", "1.", "+1"}},
      {R"j({"type":"integer"})j", {"0", "-7", "123456"}, {"1.5", "01", "1e2"}},
      {R"j({"type":"boolean"})j", {"true", "false"}, {"null"}},
      {R"j({"type":"null"})j", {"null"}, {"0"}},
      {R"j({"type":"array"})j", {"[]", R"([1,"a",{}])"}, {"[1,]", "{}"}},
      {R"j({"type":"object"})j", {"{}", R"({"a":1,"b":{}})"}, {"[]", R"({"a"})"}},
      {R"j({"type":["string","null"]})j", {R"("a")", "null"}, {"1"}},
      {R"j({"type":["object"]})j", {"{}"}, {"[]"}},
      {R"j({"type":["string","null"],"maxLength":2})j", {"null", R"("ab")"}, {R"("abc")"}},
      {R"j({"type":["integer","boolean"],"minimum":1})j", {"1", "true"}, {"0"}},
      {R"j({"type":["object","array"],"properties":{"a":{"type":"null"}},"items":{"type":"integer"}})j",
       {"[1]", R"({"a":null})"}, {R"(["a"])", R"({"a":1})"}},
      // integers
      {R"j({"type":"integer","minimum":0})j", {"0", "15"}, {"-1", "01"}},
      {R"j({"type":"integer","minimum":7})j", {"7", "10", "999"}, {"6", "07"}},
      {R"j({"type":"integer","minimum":42})j", {"42", "50", "100"}, {"41", "5", "042"}},
      {R"j({"type":"integer","minimum":100})j", {"100", "12345", "999999999999999"}, {"10", "99", "1", "0100"}},
      {R"j({"type":"integer","exclusiveMinimum":204})j", {"205", "300", "1000"}, {"25", "204", "2"}},
      {R"j({"type":"integer","minimum":-20})j", {"-20", "-3", "0", "500"}, {"-21", "-100"}},
      {R"j({"type":"integer","maximum":10})j", {"10", "0", "-5000"}, {"11", "100"}},
      {R"j({"type":"integer","maximum":-1})j", {"-1", "-20"}, {"0", "-01", "1"}},
      {R"j({"type":"integer","exclusiveMaximum":0})j", {"-1", "-300"}, {"0", "-01"}},
      {R"j({"type":"integer","minimum":-5,"maximum":1234})j", {"-5", "0", "999", "1234"}, {"-6", "1235", "007"}},
      {R"j({"type":"integer","minimum":1900,"maximum":2100})j", {"1900", "2000", "2100"}, {"1899", "2101", "19000"}},
      {R"j({"type":"integer","minimum":0.5,"maximum":2.5})j", {"1", "2"}, {"0", "3"}},
      {R"j({"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":10})j", {"1", "9"}, {"0", "10"}},
      {R"j({"type":"string","minimum":3})j", {R"("a")"}, {"5"}},
      // const, enum
      {R"j({"const":"x\ny"})j", {R"("x\ny")"}, {R"("x")"}},
      {R"j({"type":"integer","const":5})j", {"5"}, {"6"}},
      {R"j({"enum":["a",1,null,true,{"b":[1.5]}]})j", {R"("a")", "null", R"({"b":[1.5]})"}, {R"("b")", "2"}},
      {R"j({"type":"string","enum":["é\"\\"]})j", {R"("é\"\\")"}, {R"("é")"}},
      {R"j({"type":["string","null"],"enum":["a",null]})j", {R"("a")", "null"}, {R"("b")"}},
      // strings
      {R"j({"type":"string","minLength":2,"maxLength":4})j",
       {R"("ab")", R"("é\u00e9")", R"("abcd")"}, {R"("a")", R"("abcde")", R"("\ud83d\ude00")"}},
      {R"j({"type":"string","minLength":1})j", {R"("a")"}, {R"("")"}},
      {R"j({"maxLength":2000})j", {R"("")"}, {"1"}},
      {R"j({"type":"string","format":"date"})j", {R"("2024-02-29")"}, {R"("2024-13-01")", R"("24-1-1")"}},
      {R"j({"type":"string","format":"time"})j", {R"("23:59:59Z")", R"("01:02:03.004+01:00")"}, {R"("24:00:00Z")"}},
      {R"j({"format":"date-time"})j", {R"("2024-02-29T01:02:03Z")"}, {R"("2024-02-29")"}},
      {R"j({"type":"string","format":"uuid"})j", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123")"}},
      {R"j({"type":"string","format":"email"})j", {R"("anything")"}, {"1"}},
      {R"j({"format":"email","type":"string","pattern":"^[a-z]+@[a-z]+\\.org$"})j", {R"("a@b.org")"}, {R"("a@b,org")"}},
      {R"j({"pattern":"^[A-Z]{2}-[0-9]{3,5}$"})j", {R"("AB-123")", R"("AB-12345")"}, {R"("A-123")", R"("AB-12")", R"("AB-123456")"}},
      {R"j({"pattern":"^(?:red|green|blue)$"})j", {R"("red")"}, {R"("redgreen")", R"("")"}},
      {R"j({"pattern":"^a?b*c+$"})j", {R"("c")", R"("abbcc")"}, {R"("ab")"}},
      {R"j({"pattern":"^(a(b(c)?d)*e)$"})j", {R"("ae")", R"("abdbcde")"}, {R"("abe")"}},
      {R"j({"pattern":"^é(é)+x{2,}$"})j", {R"("éééxx")"}, {R"("éxx")", R"("ééx")"}},
      {R"j({"pattern":"^.{1,3}$"})j", {R"("aé ")"}, {R"("")", R"("abcd")", R"("a"b")", R"("\n")"}},
      {R"j({"pattern":"^\\++[0-9]\\.[0-9]$"})j", {R"("+++1.2")"}, {R"("1.2")", R"("+1x2")"}},
      {R"j({"pattern":"^\\x41\\u00e9[\\-\\]\\[a-c]+$"})j", {R"("Aé-]b")"}, {R"("Aé")", R"("Aéd")"}},
      {R"j({"pattern":"^[+-]?[0-9]+,a/b c$"})j", {R"("-5,a/b c")", R"("5,a/b c")"}, {R"("5")"}},
      // arrays
      {R"j({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})j", {"[1]", "[1, 2,3]"}, {"[]", "[1,2,3,4]", R"(["a"])"}},
      {R"j({"items":{"type":"null"}})j", {"[]", "[null,null]"}, {"[1]"}},
      {R"j({"type":"array","minItems":2})j", {"[1,[]]"}, {"[1]"}},
      {R"j({"type":"array","maxItems":0})j", {"[]"}, {"[1]"}},
      {R"j({"type":"array","items":{"type":"boolean"},"maxItems":500})j", {"[]", "[true,false]"}, {"[null]"}},
      {R"j({"type":"array","uniqueItems":false})j", {"[1,1]"}, {"1"}},
      {R"j({"prefixItems":[{"type":"string"},{"type":"integer"}],"items":false})j", {R"(["a",1])"}, {R"(["a"])", R"(["a",1,2])", R"([1,"a"])"}},
      {R"j({"type":"array","prefixItems":[{"type":"null"}],"minItems":1,"maxItems":1})j", {"[null]"}, {"[]"}},
      // objects
      {R"j({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"]})j",
       {R"({"a":1})", R"({ "a": 1, "b": "x" })"}, {"{}", R"({"b":"x"})", R"({"a":1,"c":2})", R"({"a":1,"a":1})"}},
      {R"j({"properties":{"a":{"type":"null"},"b":{"type":"null"}}})j",
       {"{}", R"({"b":null})", R"({"a":null,"b":null})"}, {R"({"b":null,"a":null})"}},
      {R"j({"type":"object","properties":{"a":{}},"additionalProperties":true})j", {R"({"a":1})", "{}"}, {R"({"a":1,"b":2})", R"({"\": 1})"}},
      {R"j({"type":"object","properties":{"a":{}},"additionalProperties":false})j", {R"({"a":[]})"}, {R"({"b":1})"}},
      {R"j({"type":"object","additionalProperties":{"type":"integer"}})j", {"{}", R"({"x":1,"y":2})"}, {R"({"x":""})"}},
      {R"j({"additionalProperties":false})j", {"{}"}, {R"({"a":1})"}},
      {R"j({"type":"object","properties":{}})j", {"{}"}, {"[]"}},
      {R"j({"type":"object","properties":{"né \"\\/~1":{"type":"null"}},"required":["né \"\\/~1"]})j", {R"({"né \"\\/~1":null})"}, {"{}"}},
      {R"j({"type":"object","properties":{"$ref":{"type":"null"},"type":{"type":"null"}},"required":["$ref"]})j", {R"({"$ref":null})"}, {"{}"}},
      // names that could be taken for rules of the converter
      {R"j({"properties":{"date_time":{"type":"string","format":"date"},"t":{"type":"string","format":"date-time"}},"required":["date_time","t"]})j",
       {R"({"date_time":"2020-01-01","t":"2020-01-01T00:00:00Z"})"}, {R"({"date_time":"2020-01-01","t":""2020-01-01""})"}},
      {R"j({"properties":{"ref":{"type":"object","properties":{"defs":{"type":"object","properties":{"A":{"enum":[1]}}}}},)j"
       R"j("x":{"$ref":"#/$defs/A"}},"required":["ref","x"],"$defs":{"A":{"type":"null"}}})j",
       {R"({"ref":{"defs":{"A":1}},"x":null})"}, {R"({"x":1})"}},
      // anyOf, allOf, $ref
      {R"j({"anyOf":[{"type":"integer"},{"type":"array","items":{"type":"string"}}],"title":"t"})j", {"1", R"(["a"])"}, {R"("a")", "[1]"}},
      {R"j({"allOf":[{"properties":{"a":{"type":"integer"}}},{"properties":{"b":{"type":"integer"}},"required":["b"]}],"required":["a"]})j",
       {R"({"a":1,"b":2})"}, {R"({"b":2})", R"({"a":1})"}},
      {R"j({"description":"d","allOf":[{"$ref":"#/$defs/A"}],"$defs":{"A":{"properties":{"x":{"type":"null"}},"additionalProperties":false}}})j",
       {R"({"x":null})"}, {R"({"y":null})"}},
      {R"j({"allOf":[{"enum":["a","b"]},{"$ref":"#/$defs/E"}],"$defs":{"E":{"enum":["b","c"]}}})j", {R"("b")"}, {R"("a")", R"("c")"}},
      {R"j({"$ref":"#/$defs/A","title":"t","$defs":{"A":{"$ref":"#/$defs/B"},"B":{"type":"boolean"}}})j", {"true"}, {"1"}},
      {R"j({"properties":{"a":{"type":"integer"},"b":{"$ref":"#/properties/a"}}})j", {R"({"a":1,"b":2})"}, {R"({"b":""})"}},
      {R"j({"anyOf":[{"type":"null"},{"type":"array","items":{"$ref":"#/anyOf/0"}}]})j", {"[null]", "null"}, {"[1]"}},
      {R"j({"$ref":"#/$defs/Node","$defs":{"Node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/Node"},)j"
       R"j({"type":"null"}]}},"required":["v","next"]}}})j",
       {R"({"v":1,"next":{"v":2,"next":null}})"}, {R"({"v":1})"}},
      {R"j({"$ref":"#/$defs/T","$defs":{"T":{"type":"array","items":{"$ref":"#/$defs/T"}}}})j", {"[]", "[[],[[]]]"}, {"[1]"}},
      // drafts and annotations
      {R"j({"$schema":"http://json-schema.org/draft-07/schema#","$id":"https://example.com/a","definitions":{"A":{"const":1}},)j"
       R"j("$ref":"#/definitions/A"})j",
       {"1"}, {"2"}},
      {R"j({"$schema":"https://json-schema.org/draft/2020-12/schema","prefixItems":[{"const":1}]})j", {"[1]"}, {"[]"}},
      {R"j({"type":"null","title":"t","description":"d","default":1,"examples":[{"not":1}],"deprecated":true,"readOnly":true,"writeOnly":false,)j"
       R"j("$comment":"c","$anchor":"a","contentEncoding":"base64","contentMediaType":"text/plain","nullable":true,"x-any":{"not":{}},"id":"i"})j",
       {"null"}, {"1"}},
  };
  return table;
}

struct Refused {
  std::string schema, pointer;
};

const std::vector<Refused>& refused() {
  static const std::vector<Refused> table = {
      // keywords
      {R"j({"oneOf":[{"type":"string"}]})j", "/oneOf"},
      {R"j({"not":{"type":"string"}})j", "/not"},
      {R"j({"if":{"type":"string"}})j", "/if"},
      {R"j({"then":{}})j", "/then"},
      {R"j({"else":{}})j", "/else"},
      {R"j({"type":"object","dependentSchemas":{}})j", "/dependentSchemas"},
      {R"j({"type":"object","dependentRequired":{"a":["b"]}})j", "/dependentRequired"},
      {R"j({"type":"object","dependencies":{}})j", "/dependencies"},
      {R"j({"type":"object","patternProperties":{"^a":{}}})j", "/patternProperties"},
      {R"j({"type":"object","propertyNames":{"maxLength":3}})j", "/propertyNames"},
      {R"j({"type":"object","minProperties":1})j", "/minProperties"},
      {R"j({"type":"object","maxProperties":1})j", "/maxProperties"},
      {R"j({"type":"object","unevaluatedProperties":false})j", "/unevaluatedProperties"},
      {R"j({"type":"array","unevaluatedItems":false})j", "/unevaluatedItems"},
      {R"j({"type":"array","additionalItems":false})j", "/additionalItems"},
      {R"j({"type":"array","contains":{}})j", "/contains"},
      {R"j({"type":"array","minContains":1})j", "/minContains"},
      {R"j({"type":"array","maxContains":1})j", "/maxContains"},
      {R"j({"type":"array","uniqueItems":true})j", "/uniqueItems"},
      {R"j({"type":"integer","multipleOf":2})j", "/multipleOf"},
      {R"j({"type":"number","multipleOf":0.5})j", "/multipleOf"},
      {R"j({"$dynamicRef":"#a"})j", "/$dynamicRef"},
      {R"j({"$dynamicAnchor":"a"})j", "/$dynamicAnchor"},
      {R"j({"$recursiveRef":"#"})j", "/$recursiveRef"},
      {R"j({"$recursiveAnchor":true})j", "/$recursiveAnchor"},
      {R"j({"$vocabulary":{}})j", "/$vocabulary"},
      {R"j({"type":"integer","divisibleBy":2})j", "/divisibleBy"},
      {R"j({"disallow":"string"})j", "/disallow"},
      {R"j({"extends":{}})j", "/extends"},
      // where they stand
      {R"j({"type":"object","properties":{"a":{"not":{"type":"null"}}}})j", "/properties/a/not"},
      {R"j({"type":"object","properties":{"a/b":{"not":{}}}})j", "/properties/a~1b/not"},
      {R"j({"type":"object","properties":{"~":{"not":{}}}})j", "/properties/~0/not"},
      {R"j({"type":"object","properties":{"é ö":{"not":{}}}})j", "/properties/é ö/not"},
      {R"j({"type":"array","items":{"if":{}}})j", "/items/if"},
      {R"j({"prefixItems":[{},{"not":{}}]})j", "/prefixItems/1/not"},
      {R"j({"anyOf":[{},{"oneOf":[{}]}]})j", "/anyOf/1/oneOf"},
      {R"j({"allOf":[{"type":"object","properties":{"a":{"not":{}}}}]})j", "/allOf/0/properties/a/not"},
      {R"j({"additionalProperties":{"not":{}}})j", "/additionalProperties/not"},
      {R"j({"$defs":{"A":{"not":{}}}})j", "/$defs/A/not"},
      {R"j({"definitions":{"A":{"type":"array","uniqueItems":true}}})j", "/definitions/A/uniqueItems"},
      {R"j({"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"b":{"type":"number","minimum":1}}}}}})j",
       "/properties/a/items/properties/b/minimum"},
      // numbers
      {R"j({"type":"number","minimum":0})j", "/minimum"},
      {R"j({"type":"number","maximum":1.5})j", "/maximum"},
      {R"j({"type":"number","exclusiveMinimum":0})j", "/exclusiveMinimum"},
      {R"j({"type":"number","exclusiveMaximum":0})j", "/exclusiveMaximum"},
      {R"j({"type":["number","null"],"minimum":0})j", "/minimum"},
      {R"j({"type":["integer","number"],"maximum":5})j", "/maximum"},
      {R"j({"minimum":1})j", "/minimum"},
      {R"j({"type":"integer","minimum":1,"exclusiveMinimum":1})j", "/exclusiveMinimum"},
      {R"j({"type":"integer","maximum":1,"exclusiveMaximum":1})j", "/exclusiveMaximum"},
      {R"j({"type":"integer","minimum":5,"maximum":4})j", "/maximum"},
      {R"j({"type":"integer","minimum":0.5,"maximum":0.75})j", "/maximum"},
      {R"j({"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":4})j", "/exclusiveMaximum"},
      {R"j({"type":"integer","exclusiveMinimum":999999999999999})j", "/exclusiveMinimum"},
      {R"j({"type":"integer","minimum":10000000000000000})j", "/minimum"},
      {R"j({"type":"integer","maximum":1e300})j", "/maximum"},
      {R"j({"type":"integer","minimum":"1"})j", "/minimum"},
      {R"j({"type":"integer","minimum":0,"exclusiveMinimum":true})j", "/exclusiveMinimum"},
      // objects
      {R"j({"type":"object","required":["a"]})j", "/required/0"},
      {R"j({"type":"object","properties":{"a":{}},"required":["a","b"]})j", "/required/1"},
      {R"j({"required":["a"]})j", "/required"},
      {R"j({"type":"object","additionalProperties":{"type":"string"},"required":["a"]})j", "/required/0"},
      {R"j({"type":["object","null"],"properties":{"a":{}},"required":["b"]})j", "/required/0"},
      {R"j({"type":"object","properties":{"a":{}},"required":["a","a"]})j", "/required/1"},
      {R"j({"type":"object","properties":{"a":{}},"required":[1]})j", "/required/0"},
      {R"j({"type":"object","required":"a"})j", "/required"},
      {R"j({"type":"object","properties":{"a":{}},"additionalProperties":{"type":"string"}})j", "/additionalProperties"},
      {R"j({"properties":{"a":{}},"additionalProperties":{}})j", "/additionalProperties"},
      {R"j({"type":"object","additionalProperties":"no"})j", "/additionalProperties"},
      {R"j({"properties":[]})j", "/properties"},
      {R"j({"properties":{"a":true}})j", "/properties/a"},
      {R"j({"properties":{"*":{}}})j", "/properties/*"},
      // references
      {R"j({"$ref":"#/$defs/A","minLength":1,"$defs":{"A":{"type":"string"}}})j", "/minLength"},
      {R"j({"type":"string","$ref":"#/$defs/A","$defs":{"A":{"type":"string"}}})j", "/type"},
      {R"j({"properties":{"a":{"$ref":"#/$defs/A","enum":["x"]}},"$defs":{"A":{"type":"string"}}})j", "/properties/a/enum"},
      {R"j({"properties":{"a":{"$ref":"#/$defs/A","format":"date"}},"$defs":{"A":{"type":"string"}}})j", "/properties/a/format"},
      {R"j({"$ref":"https://example.com/a.json"})j", "/$ref"},
      {R"j({"$ref":"other.json#/$defs/A"})j", "/$ref"},
      {R"j({"$ref":"#"})j", "/$ref"},
      {R"j({"$ref":"#anchor","$anchor":"anchor"})j", "/$ref"},
      {R"j({"$ref":"#/$defs/none"})j", "/$ref"},
      {R"j({"$ref":"#/title","title":"t"})j", "/$ref"},
      {R"j({"$ref":"#/$defs/a~1b","$defs":{"a/b":{}}})j", "/$ref"},
      {R"j({"$ref":"#/$defs/a%20b","$defs":{"a b":{}}})j", "/$ref"},
      {R"j({"anyOf":[{"$ref":"#/anyOf/01"},{}]})j", "/anyOf/0/$ref"},
      {R"j({"$ref":1})j", "/$ref"},
      {R"j({"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/A"}}})j", "/$defs/A/$ref"},
      {R"j({"$ref":"#/$defs/A","$defs":{"A":{"anyOf":[{"$ref":"#/$defs/A"},{"type":"null"}]}}})j", "/$defs/A/anyOf/0/$ref"},
      {R"j({"properties":{"x":{"$ref":"#/properties/y/anyOf/0"},"y":{"anyOf":[{"$ref":"#/properties/y"},{}]}}})j", "/properties/y/anyOf/0"},
      {R"j({"$ref":"#/$defs/A","$defs":{"A":{"properties":{"a":{"$ref":"#/$defs/A"}},"required":["a"]}}})j", "/$ref"},
      {R"j({"$defs":{"A":{"type":"array","minItems":1,"items":{"$ref":"#/$defs/A"}}}})j", "/$defs/A/items/$ref"},
      {R"j({"$defs":{"A":{"allOf":[{"properties":{"a":{"type":"array","minItems":1,"items":{"$ref":"#/$defs/A"}}}}]}}})j",
       "/$defs/A/allOf/0/properties/a/items/$ref"},
      {R"j({"properties":{"x":{"$ref":"#/$defs/a_b"},"y":{"$ref":"#/$defs/a-b"}},"$defs":{"a_b":{},"a-b":{"type":"null"}}})j", "/properties/y/$ref"},
      {R"j({"properties":{"x":{"$ref":"#/$defs/A"},"y":{"$ref":"#/$defs/A_b"}},)j"
       R"j("$defs":{"A":{"properties":{"b":{"enum":[1]}}},"A_b":{"type":"null"}}})j",
       "/properties/y/$ref"},
      {R"j({"properties":{"x":{"$ref":"#/$defs/A"},"y":{"$ref":"#/$defs/A_1"}},)j"
       R"j("$defs":{"A":{"pattern":"^[a-z]{2}$"},"A_1":{"type":"null"}}})j",
       "/properties/y/$ref"},
      // anyOf
      {R"j({"anyOf":[{"type":"string"}],"type":"string"})j", "/type"},
      {R"j({"anyOf":[{}],"required":["a"]})j", "/required"},
      {R"j({"anyOf":[{}],"properties":{"a":{}}})j", "/properties"},
      {R"j({"anyOf":[{}],"allOf":[{"type":"object"}]})j", "/allOf"},
      {R"j({"anyOf":[]})j", "/anyOf"},
      {R"j({"anyOf":{}})j", "/anyOf"},
      {R"j({"anyOf":[true]})j", "/anyOf/0"},
      // const, enum
      {R"j({"const":1,"minimum":0})j", "/minimum"},
      {R"j({"const":1,"enum":[1]})j", "/enum"},
      {R"j({"const":{},"allOf":[{"type":"object"}]})j", "/allOf"},
      {R"j({"const":{"a":[1e30]}})j", "/const"},
      {R"j({"type":"string","const":1})j", "/const"},
      {R"j({"enum":["a"],"minLength":1})j", "/minLength"},
      {R"j({"enum":["2020-01-01"],"format":"date"})j", "/format"},
      {R"j({"type":"string","enum":["a",1]})j", "/enum/1"},
      {R"j({"type":"integer","enum":[1,1.5]})j", "/enum/1"},
      {R"j({"enum":[1,100000000000000000000]})j", "/enum/1"},
      {R"j({"enum":["a","b","a"]})j", "/enum/2"},
      {R"j({"enum":[]})j", "/enum"},
      {R"j({"enum":"a"})j", "/enum"},
      // allOf
      {R"j({"allOf":[{"type":"object"}],"properties":{"a":{}}})j", "/allOf"},
      {R"j({"allOf":[{"properties":{"a":{}}}],"additionalProperties":false})j", "/allOf"},
      {R"j({"type":"integer","allOf":[{"type":"integer"}]})j", "/allOf"},
      {R"j({"type":"string","allOf":[{"enum":["a"]}]})j", "/allOf"},
      {R"j({"type":"object","allOf":[{"enum":[{}]}]})j", "/type"},
      {R"j({"allOf":[{"type":"string"}]})j", "/allOf/0"},
      {R"j({"allOf":[{"const":{}}]})j", "/allOf/0"},
      {R"j({"allOf":[{"type":["object"],"properties":{"a":{}}}]})j", "/allOf/0"},
      {R"j({"allOf":[{"anyOf":[{"properties":{"a":{}}}]}]})j", "/allOf/0"},
      {R"j({"allOf":[{"$ref":"#/$defs/A"}],"$defs":{"A":{"type":"string"}}})j", "/allOf/0"},
      {R"j({"allOf":[{"enum":["a"]},{"type":"object"}]})j", "/allOf/1"},
      {R"j({"allOf":[{"enum":["a"]},{"enum":["b"]}]})j", "/allOf"},
      {R"j({"allOf":[{"enum":["a"]}],"required":["a"]})j", "/required"},
      {R"j({"allOf":[{"properties":{"a":{}}},{"properties":{"a":{}}}]})j", "/allOf/1"},
      {R"j({"allOf":[{"properties":{"a":{}},"additionalProperties":false},{"properties":{"b":{}}}]})j", "/allOf/0"},
      {R"j({"allOf":[{"properties":{"a":{}}}],"required":["b"]})j", "/required/0"},
      {R"j({"allOf":[{"properties":{"a":{}}}],"minLength":1})j", "/minLength"},
      // arrays
      {R"j({"type":"array","items":[{}]})j", "/items"},
      {R"j({"items":true})j", "/items"},
      {R"j({"type":"array","items":false})j", "/items"},
      {R"j({"prefixItems":[{}],"items":{"type":"string"}})j", "/prefixItems"},
      {R"j({"prefixItems":[]})j", "/prefixItems"},
      {R"j({"prefixItems":[{}],"minItems":2})j", "/minItems"},
      {R"j({"prefixItems":[{},{}],"maxItems":1})j", "/maxItems"},
      {R"j({"$schema":"http://json-schema.org/draft-07/schema#","prefixItems":[{}]})j", "/prefixItems"},
      {R"j({"type":"array","minItems":3,"maxItems":2})j", "/minItems"},
      {R"j({"type":"array","maxItems":501})j", "/maxItems"},
      {R"j({"type":"array","maxItems":18446744073709551615})j", "/maxItems"},
      {R"j({"type":"array","minItems":-1})j", "/minItems"},
      {R"j({"type":"array","minItems":1.0})j", "/minItems"},
      {R"j({"minItems":1})j", "/minItems"},
      // strings
      {R"j({"type":"string","maxLength":2001})j", "/maxLength"},
      {R"j({"type":"string","minLength":"1"})j", "/minLength"},
      {R"j({"type":"string","minLength":3,"maxLength":2})j", "/minLength"},
      {R"j({"type":"string","pattern":"^a$","minLength":1})j", "/minLength"},
      {R"j({"type":"string","pattern":"^a$","maxLength":1})j", "/maxLength"},
      {R"j({"type":"string","format":"date","minLength":1})j", "/minLength"},
      {R"j({"type":["string","null"],"format":"uuid","maxLength":36})j", "/maxLength"},
      {R"j({"type":"string","pattern":"^a$","format":"time"})j", "/format"},
      {R"j({"type":"string","format":1})j", "/format"},
      {R"j({"type":"string","pattern":1})j", "/pattern"},
      // types and the rest
      {R"j({"type":"text"})j", "/type"},
      {R"j({"type":null})j", "/type"},
      {R"j({"type":[]})j", "/type"},
      {R"j({"type":["string","string"]})j", "/type/1"},
      {R"j({"type":["string",1]})j", "/type/1"},
      {R"j({"$schema":"http://json-schema.org/draft-04/schema#"})j", "/$schema"},
      {R"j({"$schema":1})j", "/$schema"},
      {R"j({"properties":{"a":{"$schema":"https://json-schema.org/draft/2020-12/schema"}}})j", "/properties/a/$schema"},
      {R"j({"properties":{"a":{"$id":"x"}}})j", "/properties/a/$id"},
      {R"j({"$id":1})j", "/$id"},
      {R"j({"$defs":[]})j", "/$defs"},
      {R"j({"$defs":{"A":false}})j", "/$defs/A"},
  };
  return table;
}

// As JSON holds them: a backslash is written twice.
constexpr const char* kRefusedPatterns[] = {
    "", "a", "^a", "a$", "^a\\\\$", "^$", "^a|b$", "^(a$", "^a)$", "^(^a)$", "^(a$)$", "^[a$", "^a]$", "^a}$", "^*a$", "^(+)$", "^a**$", "^a+?$",
    "^a++$", "^a{2}{3}$", "^a{$", "^a{,3}$", "^a{0}$", "^a{3,2}$", "^a{1001}$", "^a{x}$", "^(?=a)b$", "^(?!a)b$", "^(?<=a)b$", "^(?<n>a)$",
    "^(?i)a$", "^(a)\\\\1$", "^\\\\d+$", "^\\\\w$", "^\\\\s$", "^\\\\bab$", "^\\\\p{L}$", "^a\\\\/b$", "^\\\\n$", "^\\\\t$", "^\\\\\\\\$", "^a\\\\",
    "^[^a]$", "^[]$", "^[z-a]$", "^[ -~]$", "^[A-z]$", "^[\\\\d]$", "^[a\\\\.]$", "^[[a]$", "^[\\\\n]$", "^\\\"$", "^[\\\"]$", "^\\\\x22$",
    "^\\\\x0a$", "^\\\\u12$", "^\\\\ud83d$", "^\\u0001$", "^\xC3\xA9+$", "^ab\\\\.+$", "^(a?)*$", "^(a|)$", "^(|a)$", "^()$", "^(a*)+$",
    "^a?b?c?d?e?f?g?h?i?$", "^[\\\\u0000-\\\\uffff]$",
};

TEST(SchemaCheck, WhatIsOnTheListHolds) {
  ASSERT_GE(held().size(), 60u);
  for (const Held& one : held()) {
    SCOPED_TRACE(one.schema);
    const auto gbnf = schema_grammar(one.schema, "here");
    ASSERT_TRUE(gbnf) << gbnf.error().message;
    EXPECT_TRUE(check_schema(one.schema, "here"));
    const std::unique_ptr<llama_sampler, decltype(&llama_sampler_free)> compiled(llama_sampler_init_grammar(nullptr, gbnf->c_str(), "root"),
                                                                                 &llama_sampler_free);
    EXPECT_NE(compiled, nullptr) << *gbnf;
    Grammar grammar(*gbnf);
    for (const std::string& text : one.conform) EXPECT_TRUE(grammar.has(text)) << text << "\n" << *gbnf;
    for (const std::string& text : one.do_not) EXPECT_FALSE(grammar.has(text)) << text << "\n" << *gbnf;
  }
}

void expect_refused(const std::string& schema, const std::string& pointer) {
  SCOPED_TRACE(schema);
  const auto checked = check_schema(schema, "here");
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, Code::kInvalidRequest);
  EXPECT_TRUE(checked.error().message.starts_with("here: " + pointer + ": ")) << checked.error().message;
}

TEST(SchemaCheck, WhatWouldNotHoldIsRefusedWithItsPointer) {
  ASSERT_GE(refused().size(), 100u);
  for (const Refused& one : refused()) expect_refused(one.schema, one.pointer);
}

TEST(SchemaCheck, PatternsThatTheConverterGetsWrongAreRefused) {
  for (const char* pattern : kRefusedPatterns) {
    expect_refused(R"({"type":"object","properties":{"p":{"type":"string","pattern":")" + std::string(pattern) + "\"}}}", "/properties/p/pattern");
  }
}

TEST(SchemaCheck, TheMessageNamesTheKeyword) {
  const auto checked = check_schema(R"({"type":"object","properties":{"a":{"not":{}}}})", "response_format: schema");
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().message, "response_format: schema: /properties/a/not: keyword \"not\" is not supported");
}

TEST(SchemaCheck, WhatIsNoSchemaAtAllIsRefused) {
  for (const char* text : {"", "true", "null", "[]", "\"x\"", "1", "{", "{}}", R"({"type":"null",})", R"({"a":"\ud83d"})", "{\"a\":\"\xFF\"}"}) {
    const auto checked = check_schema(text, "here");
    ASSERT_FALSE(checked) << text;
    EXPECT_TRUE(checked.error().message.starts_with("here: ")) << checked.error().message;
    EXPECT_FALSE(checked.error().message.starts_with("here: /")) << checked.error().message;
  }
}

std::string times(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

void expect_too_large(const std::string& schema) {
  const auto checked = check_schema(schema, "here");
  ASSERT_FALSE(checked) << schema.substr(0, 200);
  EXPECT_EQ(checked.error().code, Code::kInvalidRequest);
}

TEST(SchemaCheck, HostileSchemasAreBounded) {
  expect_too_large(R"({"title":")" + std::string(65'536, 'x') + "\"}");
  expect_too_large(times("[", 60'000));
  expect_too_large(times(R"({"items":)", 65) + "{}" + times("}", 65));
  expect_too_large(R"({"properties":{")" + std::string(257, 'x') + "\":{}}}");
  std::string properties;
  for (int i = 0; i < 129; ++i) properties += (i == 0 ? "\"p" : ",\"p") + std::to_string(i) + "\":{}";
  expect_too_large(R"({"properties":{)" + properties + "}}");
  std::string chain;  // each schema inside the one before, through a reference
  for (int i = 0; i < 200; ++i) {
    chain += "\"d" + std::to_string(i) + R"(":{"items":{"$ref":"#/$defs/d)" + std::to_string(i + 1) + "\"}},";
  }
  expect_too_large(R"({"$ref":"#/$defs/d0","$defs":{)" + chain + R"("d200":{}}})");
  std::string twice;  // each copied twice into the next
  for (int i = 0; i < 20; ++i) {
    const std::string part = R"({"allOf":[{"$ref":"#/$defs/d)" + std::to_string(i + 1) + "\"}]}";
    twice += "\"d" + std::to_string(i) + R"(":{"properties":{"p":)" + part + R"(,"q":)" + part + "}},";
  }
  expect_too_large(R"({"$ref":"#/$defs/d0","$defs":{)" + twice + R"("d20":{"type":"object"}}})");
  // The parts of an allOf are copied, so this one holds itself.
  const std::string itself = R"({"anyOf":[{"type":"null"},{"allOf":[{"$ref":"#/$defs/A"}]}]})";
  expect_too_large(R"({"allOf":[{"$ref":"#/$defs/A"}],"$defs":{"A":{"properties":{"a":)" + itself + "}}}}");
  expect_too_large(R"({"items":{"type":"string","pattern":"^)" + times("(", 40) + "a" + times(")", 40) + "$\"}}");
  std::string long_texts;
  for (int i = 0; i < 100; ++i) long_texts += (i == 0 ? "\"p" : ",\"p") + std::to_string(i) + R"(":{"type":"string","maxLength":2000})";
  expect_too_large(R"({"properties":{)" + long_texts + "}}");
}

TEST(SchemaCheck, TextsStayAsTheyAreUnlessTheConverterNeedsAnother) {
  const std::string plain = R"({ "type" : "integer", "minimum" : 0 })";
  const std::vector<SchemaText> schemas = {
      {plain, "a"},
      {R"({"properties":{"n":{"type":"integer","minimum":100},"m":{"type":"integer","maximum":-1}},"additionalProperties":true,"title":"t"})", "b"},
      {R"({"prefixItems":[{"prefixItems":[{}],"items":false}],"items":false})", "c"},
  };
  const auto texts = enforceable_schemas(schemas);
  ASSERT_TRUE(texts) << texts.error().message;
  EXPECT_EQ(texts->at(0), plain);
  EXPECT_EQ(texts->at(1), R"({"properties":{"n":{"type":"integer","minimum":100,"maximum":999999999999999},)"
                          R"("m":{"type":"integer","maximum":-1,"minimum":-999999999999999}},"title":"t"})");
  EXPECT_EQ(texts->at(2), R"({"prefixItems":[{"prefixItems":[{}]}]})");
}

TEST(SchemaCheck, SchemasOfOneGrammarAgreeOnTheirReferences) {
  const auto with = [](const std::string& name, const std::string& definition) {
    return R"({"$ref":"#/$defs/)" + name + R"(","$defs":{")" + name + "\":" + definition + "}}";
  };
  const std::string one = with("A", R"({"type":"null"})"), other = with("A", R"({"type":"string"})");
  EXPECT_TRUE(enforceable_schemas(std::vector<SchemaText>{{one, "tools[0]"}, {one, "tools[1]"}}));
  const auto two_things = enforceable_schemas(std::vector<SchemaText>{{one, "tools[0]"}, {other, "tools[1]"}});
  ASSERT_FALSE(two_things);
  EXPECT_TRUE(two_things.error().message.starts_with("tools[1]: /$ref: ")) << two_things.error().message;
  // The converter makes a rule ref-defs-A-b of the property, and takes it for the reference.
  const std::string object = with("A", R"({"properties":{"b":{"enum":[1]}}})"), taken = with("A_b", "{}");
  const auto inside = enforceable_schemas(std::vector<SchemaText>{{object, "tools[0]"}, {taken, "tools[1]"}});
  ASSERT_FALSE(inside);
  EXPECT_TRUE(inside.error().message.starts_with("tools[1]: /$ref: ")) << inside.error().message;
}

TEST(SchemaCheck, OnlyTheConvertersOwnRulesAreMended) {
  EXPECT_EQ(sound_grammar(""), "");
  EXPECT_EQ(sound_grammar("dot ::= [a]\nmydot ::= [^\\x0A\\x0D]\n"), "dot ::= [a]\nmydot ::= [^\\x0A\\x0D]\n");
  EXPECT_EQ(sound_grammar("a ::= \"x\"\ndot ::= [^\\x0A\\x0D]\nz ::= dot\n"), "a ::= \"x\"\ndot ::= [^\"\\\\\\x00-\\x1F\\u2028\\u2029]\nz ::= dot\n");
}

}  // namespace
}  // namespace inferd::engine
