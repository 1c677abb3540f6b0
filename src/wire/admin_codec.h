// The admin wire: status events, server to client only (spec 04). Flat objects, keys in alphabetical order. Pure functions.
//
//   {"id":"admin","status":"ready","type":"status"}
//   {"id":"admin","path":"/m.gguf","phase":"mmap","status":"loading_model","type":"status"}
//   {"id":"admin","status":"ready","type":"status","warning":"what is wrong beside it, with any status"}
//   {"accelerator":"cpu","audio":false,"backend":"llamacpp","embed":false,"gpu_layers":0,"id":"admin","name":"llamacpp",
//    "status":"capabilities","thinking":false,"tools":false,"type":"status","v2":false,"vision":false}
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"
#include "request/capabilities.h"
#include "request/status_event.h"

namespace inferd::wire::admin {

// Each with its LF.
void append_event(std::string& out, const StatusEvent& event);
void append_event(std::string& out, const Capabilities& capabilities);

/// A frame as a client reads it: the status and every other scalar field by name. Unknown fields and states are kept.
struct Frame {
  std::string status, phase;
  std::map<std::string, std::variant<std::nullptr_t, bool, double, std::string>> fields;

  /// The field as a number or text, or the default if it is absent or of another type.
  double number(const std::string& name, double otherwise = 0) const;
  std::string text(const std::string& name) const;
};

Result<Frame> decode_frame(std::string_view line);

}  // namespace inferd::wire::admin
