// What a loaded backend can do (spec 04 §3, 08 §1). Plain data.
#pragma once

#include <cstdint>
#include <string>

namespace inferd {

struct Capabilities {
  std::string backend;  // the adapter's kind: mock, llamacpp, openai-compat, bedrock-invoke
  std::string name;     // the entry's name, chosen by the operator
  bool text = true;  // it writes; not published
  bool v2 = false;
  bool vision = false;
  bool audio = false;
  bool tools = false;
  bool thinking = false;
  bool embed = false;
  std::string accelerator = "cpu";
  uint32_t gpu_layers = 0;
  uint32_t embed_width = 0;  // components of an embedding unless fewer are asked for; not published
};

}  // namespace inferd
