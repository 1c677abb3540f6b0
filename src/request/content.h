// What a message is made of (spec 02 §2): text, references to attachments, calls of tools and their results. v1 has text only. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace inferd {

enum class MediaKind : uint8_t { kImage, kAudio, kVideo, kUnknown };  // kUnknown: refused by validation

struct Block;

struct TextBlock {
  std::string text;
};
/// Stands for the attachment of this id.
struct MediaBlock {
  MediaKind kind = MediaKind::kImage;
  std::string attachment_id;
};
/// A call that the model made earlier.
struct ToolUseBlock {
  std::string tool_call_id, name;
  std::string input;  // JSON text, compact, keys sorted
};
struct ToolResultBlock {
  std::string tool_call_id;
  std::vector<Block> content;  // may be empty
};
/// A type that this release does not know: refused by validation, not by reading.
struct UnknownBlock {};

struct Block {
  std::variant<TextBlock, MediaBlock, ToolUseBlock, ToolResultBlock, UnknownBlock> held;
};

struct Attachment {
  MediaKind kind = MediaKind::kImage;
  std::string id;
  uint32_t width = 0, height = 0;  // image: pixels
  uint32_t sample_rate = 0;        // audio: Hz
  std::string base64;              // image: width * height * 3 bytes of RGB; audio: little-endian float32 samples, mono
};

struct Tool {
  std::string name, description;
  std::string input_schema;  // JSON text, compact, keys in the caller's order
};

struct ToolChoice {
  enum class Mode : uint8_t { kAuto, kNone, kRequired, kNamed, kUnknown };  // kUnknown: refused by validation
  Mode mode = Mode::kAuto;
  std::string name;  // kNamed
};

/// A call that the model makes, complete.
struct ToolCall {
  std::string id, name;
  std::string input;  // JSON text of an object, compact, keys sorted
};

}  // namespace inferd
