// A number of bytes as a person reads it: "360 KiB", "94 MiB", "1.2 GiB". Pure; any thread.
#pragma once

#include <cstdint>
#include <string>

namespace inferd {

/// KiB and MiB in whole numbers, GiB and TiB with one decimal; rounded to the nearest, but something is never "0".
std::string size_text(uint64_t bytes);

}  // namespace inferd
