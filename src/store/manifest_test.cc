#include "store/manifest.h"

#include <gtest/gtest.h>

namespace inferd::store {
namespace {

const std::string kSha(64, 'a');

Manifest example() {
  Manifest manifest;
  manifest.name = "smol \"2\"";
  manifest.set_blob(BlobId::parse(kSha).value());
  manifest.size_bytes = 18'000'000'000'000'000'000u;
  manifest.source = source_of_url("https://host.example:8443/a/model.gguf?x=1");
  manifest.produced_by = "inferd/0.2.1";
  manifest.produced_at = "2025-01-31T12:00:00Z";
  return manifest;
}

TEST(Manifest, IsWrittenAsTheFormatSays) {
  EXPECT_EQ(manifest_text(example()), R"({
  "schema_version": 1,
  "name": "smol \"2\"",
  "format": "gguf",
  "blob": "sha256:)" + kSha + R"(",
  "size_bytes": 18000000000000000000,
  "license": null,
  "source": {
    "registry": "host.example:8443",
    "repo": "",
    "revision": "",
    "filename": "model.gguf?x=1"
  },
  "produced_by": "inferd/0.2.1",
  "produced_at": "2025-01-31T12:00:00Z"
}
)");
}

TEST(Manifest, ReadsBackWithOtherToolsFieldsAsTheyWere) {
  Manifest manifest = example();
  manifest.license = "apache-2.0";
  manifest.extra = {{"\"x-tool\"", "{ \"n\": 1.0, \"list\": [1, \"]}\\\"\", {}] }"}, {"\"flag\"", "true"}, {"\"\\u00e4\"", "1e3"}};
  manifest.source.extra = {{"\"etag\"", "\"\\\"abc\\\"\""}};
  const std::string text = manifest_text(manifest);
  const auto read = parse_manifest(text, "m.json");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->extra, manifest.extra);
  EXPECT_EQ(read->source.extra, manifest.source.extra);
  EXPECT_EQ(read->license, "apache-2.0");
  EXPECT_EQ(read->blob_id()->hex(), kSha);
  EXPECT_EQ(manifest_text(*read), text);
}

std::string with(std::string text, const std::string& what, const std::string& instead) {
  return text.replace(text.find(what), what.size(), instead);
}

TEST(Manifest, LicenseMayBeMissingAndTheSchemaAnyNumber) {
  std::string text = with(manifest_text(example()), "  \"license\": null,\n", "");
  text = with(text, "\"schema_version\": 1", "\"schema_version\": 7");
  const auto read = parse_manifest(text, "m.json");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->license, std::nullopt);
  EXPECT_EQ(read->schema_version, 7u);
}

TEST(Manifest, ErrorsNameFileAndField) {
  const std::string good = manifest_text(example());
  const auto error_of = [](const std::string& text) {
    const auto read = parse_manifest(text, "m.json");
    return read ? std::string("none") : read.error().message;
  };
  EXPECT_EQ(error_of(good), "none");
  EXPECT_EQ(error_of(with(good, "\"format\": \"gguf\",", "")), "m.json: field `format`: is missing");
  EXPECT_EQ(error_of(with(good, "18000000000000000000", "-1")), "m.json: field `size_bytes`: expected an integer from 0 on");
  EXPECT_EQ(error_of(with(good, "18000000000000000000", "1.5")), "m.json: field `size_bytes`: expected an integer from 0 on");
  EXPECT_EQ(error_of(with(good, "\"repo\": \"\"", "\"repo\": null")), "m.json: field `source.repo`: expected a string");
  EXPECT_EQ(error_of(with(good, "\"license\": null", "\"license\": 3")), "m.json: field `license`: expected a string or null");
  EXPECT_EQ(error_of(with(good, "\"license\": null", "\"name\": \"b\"")), "m.json: field `name`: is there twice");
  EXPECT_EQ(error_of("[]"), "m.json: expected a JSON object");
  for (size_t length = 0; length + 2 < good.size(); ++length) EXPECT_NE(error_of(good.substr(0, length)), "none") << length;
}

TEST(Manifest, ABlobReferenceIsNeverAPath) {
  Manifest manifest = example();
  manifest.blob = "sha256:../../../etc/passwd";
  EXPECT_FALSE(manifest.blob_id());
  manifest.blob = "blake3:" + kSha;
  EXPECT_FALSE(manifest.blob_id());
}

TEST(Manifest, SourceOfAUrl) {
  EXPECT_EQ(source_of_url("https://user:secret@h/f").registry, "h");
  for (const char* url : {"https://user:secret@h", "https://user:secret@h?x", "http://user:secret@h"}) {
    EXPECT_EQ(source_of_url(url).filename, "") << url;
  }
  EXPECT_EQ(source_of_url("https://h/a/").filename, "");
  EXPECT_EQ(source_of_url("").registry, "");
  EXPECT_EQ(source_of_url("file.gguf").filename, "file.gguf");
  EXPECT_EQ(utc_text(std::chrono::system_clock::from_time_t(0)), "1970-01-01T00:00:00Z");
}

TEST(Manifest, WhatIsNoUtf8IsReadableAllTheSame) {
  Manifest manifest = example();
  manifest.source.filename = "a\xFF.gguf";
  manifest.license = "\xC3";
  const auto read = parse_manifest(manifest_text(manifest), "manifest");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->source.filename, "a\xEF\xBF\xBD.gguf");
  EXPECT_EQ(read->license, "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace inferd::store
