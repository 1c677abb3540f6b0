#include "config/config_table.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "config/json_tree.h"
#include "config/options.h"

namespace inferd {
namespace {

const ConfigField& field_of(const ConfigObject& object, std::string_view name) {
  for (const ConfigField& field : object.fields) {
    if (field.name == name) return field;
  }
  ADD_FAILURE() << name << " is not in " << object.title;
  return object.fields[0];
}

const ConfigObject& kind(std::string_view name) {
  for (const BackendKind& one : backend_kinds()) {
    if (one.object->kind == name) return *one.object;
  }
  ADD_FAILURE() << name;
  return config_root();
}

// Every object of the table with an owner that holds its defaults.
void for_each_object(const std::function<void(const ConfigObject&, const void*)>& look) {
  ConfigFile file;
  file.model.emplace();
  for (auto* rule : {&file.access.v1, &file.access.v2, &file.access.embed}) rule->emplace();
  const std::function<void(const ConfigObject&, const void*)> down = [&](const ConfigObject& object, const void* owner) {
    look(object, owner);
    for (const ConfigField& field : object.fields) {
      if (field.binding.type == FieldType::kObject) down(*field.object, field.binding.find(owner));
    }
  };
  down(config_root(), &file);
  for (const BackendKind& one : backend_kinds()) {
    const BackendEntry entry = one.make();
    down(*one.object, address_of(entry));
  }
}

TEST(ConfigTable, TheDocumentedDefaultIsTheStructsOwn) {
  for_each_object([](const ConfigObject& object, const void* owner) {
    for (const ConfigField& field : object.fields) {
      if (field.fallback.empty()) continue;
      ASSERT_TRUE(parse_json_tree(field.fallback)) << field.name;
      const FieldValue value = field.binding.get(owner);
      if (std::holds_alternative<std::monostate>(value)) continue;  // whoever uses it knows the default
      EXPECT_EQ(shown(field, value), field.fallback) << object.title << " " << field.name;
      EXPECT_TRUE(fits(field, value)) << field.name;
    }
  });
}

TEST(ConfigTable, EveryFieldIsWhole) {
  for_each_object([](const ConfigObject& object, const void*) {
    std::set<std::string_view> names;
    for (const ConfigField& field : object.fields) {
      SCOPED_TRACE(std::string(object.title) + " " + std::string(field.name));
      EXPECT_TRUE(names.insert(field.name).second);
      EXPECT_FALSE(field.doc.empty());
      EXPECT_FALSE(expectation(field).empty());
      EXPECT_EQ(field.doc.find('|'), std::string_view::npos) << "it is a cell of a Markdown table";
      EXPECT_EQ(field.binding.type == FieldType::kObject, field.object != nullptr);
      EXPECT_EQ(field.rule == TextRule::kChoice, !field.choices.empty());
      EXPECT_TRUE(field.binding.type != FieldType::kInteger || field.min < field.max);
      EXPECT_TRUE(field.option_value.get == nullptr || field.option.starts_with("--"));
      if (!field.excludes.empty()) field_of(object, field.excludes);
    }
  });
}

TEST(ConfigTable, AnOptionAndItsFieldHaveTheSameType) {
  for_each_object([](const ConfigObject& object, const void*) {
    for (const ConfigField& field : object.fields) {
      if (field.option_value.get == nullptr) continue;
      EXPECT_EQ(field.option_value.type, field.binding.type) << object.title << " " << field.name;
    }
  });
}

TEST(ConfigTable, AValueGoesThroughABinding) {
  LlamacppEntry entry;
  const ConfigField& n_ctx = field_of(kind("llamacpp"), "n_ctx");
  EXPECT_TRUE(std::holds_alternative<std::monostate>(n_ctx.binding.get(&entry)));
  n_ctx.binding.set(&entry, int64_t{4096});
  EXPECT_EQ(entry.n_ctx, 4096u);
  EXPECT_EQ(n_ctx.binding.get(&entry), FieldValue(int64_t{4096}));
  DaemonOptions options;
  options.host_cache_bytes = ~uint64_t{0};
  EXPECT_EQ(field_of(kind("llamacpp"), "host_cache_bytes").option_value.get(&options), FieldValue(std::numeric_limits<int64_t>::max()));
}

TEST(ConfigTable, BoundsOfTexts) {
  const auto fits_text = [](TextRule rule, const std::string& text) { return fits(ConfigField{.rule = rule}, text); };
  EXPECT_TRUE(fits_text(TextRule::kSha256, std::string(64, 'a')));
  for (const auto& text : {std::string(63, 'a'), std::string(65, 'a'), std::string(64, 'A'), std::string(64, 'g'), std::string()}) {
    EXPECT_FALSE(fits_text(TextRule::kSha256, text)) << text;
  }
  EXPECT_TRUE(fits_text(TextRule::kHttpUrl, "http://localhost:11434"));
  EXPECT_FALSE(fits_text(TextRule::kHttpUrl, "ftp://localhost"));
  EXPECT_FALSE(fits_text(TextRule::kHttpsUrl, "http://example.com/a.gguf"));
  EXPECT_TRUE(fits_text(TextRule::kVariable, "OPENAI_API_KEY"));
  for (const char* text : {"", "1A", "A-B", "sk-abc", "A B", "$A"}) EXPECT_FALSE(fits_text(TextRule::kVariable, text)) << text;
  EXPECT_FALSE(fits_text(TextRule::kNotBlank, " \t\n"));
  EXPECT_FALSE(fits_text(TextRule::kPath, "key"));
  EXPECT_TRUE(fits_text(TextRule::kPath, "~/key"));
  EXPECT_TRUE(fits_text(TextRule::kLogFilter, "warn,engine=debug"));
  EXPECT_FALSE(fits_text(TextRule::kLogFilter, "loud"));
  EXPECT_FALSE(fits_text(TextRule::kAny, std::string("a\0b", 3)));
}

TEST(ConfigTable, WhatMayBeAKeyIsNotShown) {
  EXPECT_EQ(shown(ConfigField{.rule = TextRule::kVariable}, std::string("sk-123-abc")), "\"...\"");
  EXPECT_EQ(shown(ConfigField{.rule = TextRule::kVariable}, std::string("MY_KEY")), "\"MY_KEY\"");
  const ConfigField url{.rule = TextRule::kHttpsUrl};
  EXPECT_EQ(shown(url, std::string("https://u:SECRET@h:1/p@q?sig=SECRET")), "\"https://...@h:1/p@q?...\"");
  EXPECT_EQ(shown(url, std::string("https://h/p#f")), "\"https://h/p?...\"");
  EXPECT_EQ(shown(url, std::string("https://h/p")), "\"https://h/p\"");
  EXPECT_EQ(shown(ConfigField{}, std::string(1000, 'a')), "\"" + std::string(80, 'a') + "...\"");
}

TEST(ConfigTable, KindsAndEntriesBelongTogether) {
  for (const BackendKind& one : backend_kinds()) {
    EXPECT_EQ(object_of(one.make()), one.object);
    EXPECT_EQ(kind_of(one.make()), one.object->kind);
  }
  EXPECT_EQ(kind_of(MockEntry()), "mock");
  EXPECT_EQ(object_of(MockEntry()), nullptr);
  EXPECT_EQ(variable_of("--n-gpu-layers"), "INFERD_N_GPU_LAYERS");
}

TEST(ConfigTable, PathsAreWrittenAsErrorsNameThem) {
  EXPECT_EQ(path_of_member("", "verify"), "verify");
  EXPECT_EQ(path_of_member(path_of_element("backends", 1), "n_ctx"), "backends[1].n_ctx");
}

}  // namespace
}  // namespace inferd
