// The manifest of a model (spec 07 §1.1): which blob stands behind a name, and where it came from. Pure; any thread.
//
//   {
//     "schema_version": 1,
//     "name": "smollm2",
//     "format": "gguf",
//     "blob": "sha256:<64 lower-case hex>",
//     "size_bytes": 98765,
//     "license": "apache-2.0" | null,
//     "source": {
//       "registry": "host[:port]",
//       "repo": "",
//       "revision": "",
//       "filename": "model.gguf"
//     },
//     "produced_by": "inferd/0.1.0",
//     "produced_at": "2025-01-31T12:00:00Z"
//   }
//
// Fields that other tools add are kept, byte by byte, behind ours.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "store/store_paths.h"

namespace inferd::store {

struct Manifest {
  struct ExtraField {
    std::string key, value;  // as they stand in the file: JSON texts
    friend bool operator==(const ExtraField&, const ExtraField&) = default;
  };
  struct Source {
    std::string registry, repo, revision, filename;
    std::vector<ExtraField> extra;
  };

  uint64_t schema_version = 1;
  std::string name;
  std::string format = "gguf";
  std::string blob;  // "sha256:<hex>"
  uint64_t size_bytes = 0;
  std::optional<std::string> license;
  Source source;
  std::string produced_by, produced_at;
  std::vector<ExtraField> extra;

  /// The blob that it names; nothing if the reference is of a kind that we do not know.
  std::optional<BlobId> blob_id() const;
  void set_blob(const BlobId& id) { blob = "sha256:" + id.hex(); }
};

constexpr size_t kMaxManifestBytes = 1u << 20;

/// kIntegrity for what is not a manifest: the message begins with `where` and names the field. `license` may be missing, unknown fields may
/// be there, `schema_version` may be any number; a field of ours that stands there twice is an error.
Result<Manifest> parse_manifest(std::string_view text, const std::string& where);

/// Indented by two spaces, with a line feed at the end. What is no UTF-8 (a file's name may be any bytes) becomes U+FFFD.
std::string manifest_text(const Manifest& manifest);

/// What fetch writes about where a blob came from: the host of "https://HOST[:PORT]/...", and the text behind the last '/' of what follows
/// the host. Never the user name or the password in front of the host.
Manifest::Source source_of_url(std::string_view url);

/// "2025-01-31T12:00:00Z"; with another format for strftime, as it says.
std::string utc_text(std::chrono::system_clock::time_point time, const char* format = "%Y-%m-%dT%H:%M:%SZ");

}  // namespace inferd::store
