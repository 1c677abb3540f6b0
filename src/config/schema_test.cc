// The generated texts, and that the files which are shipped are these. To write them anew after a change of the table:
//   INFERD_WRITE_SHIPPED=1 build/dev/bin/config_test --gtest_filter='Shipped.*'
#include "config/schema.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "config/config_table.h"
#include "config/json_tree.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

const JsonTree& member_of(const JsonTree& tree, std::string_view key) {
  for (size_t i = 0; i < tree.keys.size(); ++i) {
    if (tree.keys[i] == key) return tree.elements[i];
  }
  ADD_FAILURE() << key << " is missing";
  return tree;
}

TEST(Schema, IsJsonOfTheDraftThatItNames) {
  const auto schema = parse_json_tree(config_schema());
  ASSERT_TRUE(schema) << schema.error().message;
  EXPECT_EQ(member_of(*schema, "$schema").text, "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(member_of(*schema, "type").text, "object");
}

TEST(Schema, HasEveryFieldOfTheTable) {
  const auto schema = parse_json_tree(config_schema());
  ASSERT_TRUE(schema);
  const JsonTree& properties = member_of(*schema, "properties");
  for (const ConfigField& field : config_root().fields) member_of(properties, field.name);
  const JsonTree& forms = member_of(member_of(member_of(properties, "backends"), "items"), "oneOf");
  ASSERT_EQ(forms.elements.size(), backend_kinds().size());
  for (size_t i = 0; i < forms.elements.size(); ++i) {
    const JsonTree& fields = member_of(forms.elements[i], "properties");
    EXPECT_EQ(member_of(member_of(fields, "kind"), "const").text, backend_kinds()[i].object->kind);
    for (const ConfigField& field : backend_kinds()[i].object->fields) member_of(fields, field.name);
  }
}

TEST(Schema, BoundsAndDefaultsAreTheTables) {
  const auto schema = parse_json_tree(config_schema());
  ASSERT_TRUE(schema);
  const JsonTree& n_ctx = member_of(member_of(*schema, "properties"), "n_ctx");
  EXPECT_EQ(member_of(n_ctx, "minimum").text, "1");
  EXPECT_EQ(member_of(n_ctx, "maximum").text, "4294967295");
  EXPECT_EQ(member_of(n_ctx, "default").text, "8192");
}

TEST(Schema, IsIndentedAndEndsWithALine) {
  const std::string text = config_schema();
  EXPECT_TRUE(text.starts_with("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"));
  EXPECT_TRUE(text.ends_with("\n}\n"));
}

TEST(Reference, NamesEveryField) {
  const std::string text = config_reference();
  for (const BackendKind& kind : backend_kinds()) {
    for (const ConfigField& field : kind.object->fields) {
      EXPECT_NE(text.find("| `" + std::string(field.name) + "` |"), std::string::npos) << field.name;
    }
  }
}

TEST(Reference, ObjectsOfOneFormShareATable) {
  const std::string text = config_reference();
  EXPECT_NE(text.find("\n### `access`\n"), std::string::npos);
  EXPECT_NE(text.find("\n### `access.v1`, `access.v2`, `access.embed`\n"), std::string::npos);
  size_t tables = 0;
  for (size_t at = 0; (at = text.find("| `users` |", at)) != std::string::npos; ++at) ++tables;
  EXPECT_EQ(tables, 1u);
}

class Shipped : public ::testing::Test {
 protected:
  static std::string read(const fs::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  // Compares, or writes where the variable asks for it.
  static void expect_file(const fs::path& path, const std::string& text) {
    if (::getenv("INFERD_WRITE_SHIPPED") != nullptr) {
      fs::create_directories(path.parent_path());
      std::ofstream(path, std::ios::binary) << text;
    }
    EXPECT_TRUE(read(path) == text) << path.string() << " is not what the table says: see the top of schema_test.cc";
  }
  const fs::path root_ = INFERD_SOURCE_DIR;
};

TEST_F(Shipped, TheSchemaIsGenerated) { expect_file(root_ / "packaging/config.schema.json", config_schema()); }

TEST_F(Shipped, TheReferenceInTheDocumentationIsGenerated) {
  const fs::path path = root_ / "doc/configuration.md";
  const std::string before = "<!-- generated from src/config/config_table.cc: begin -->\n", after = "<!-- generated: end -->";
  std::string text = read(path);
  const size_t begin = text.find(before), end = text.find(after);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  text.replace(begin + before.size(), end - begin - before.size(), config_reference());
  expect_file(path, text);
}

}  // namespace
}  // namespace inferd
