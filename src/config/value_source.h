// Where the value of a setting comes from. Plain data.
#pragma once

#include <cstdint>
#include <string>

namespace inferd {

struct ValueSource {
  enum class From : uint8_t { kDefault, kFile, kEnvironment, kCommandLine };
  From from = From::kDefault;
  std::string name = {};  // the file's path, the variable ("INFERD_N_CTX") or the option ("--n-ctx")
};

}  // namespace inferd
