#include "base/size_text.h"

#include <algorithm>
#include <cmath>

namespace inferd {

std::string size_text(uint64_t bytes) {
  constexpr double kStep = 1024;
  const double kib = static_cast<double>(bytes) / kStep;
  // Compared after rounding, so that a byte less than 1 GiB is not "1024 MiB".
  if (const double whole = std::round(kib); whole < kStep) {
    return std::to_string(static_cast<uint64_t>(bytes > 0 ? std::max(1.0, whole) : 0.0)) + " KiB";
  }
  if (const double whole = std::round(kib / kStep); whole < kStep) return std::to_string(static_cast<uint64_t>(whole)) + " MiB";
  auto tenths = static_cast<uint64_t>(std::round(kib / kStep / kStep * 10));
  const char* unit = " GiB";
  if (tenths >= 10 * 1024) {
    tenths = static_cast<uint64_t>(std::round(kib / kStep / kStep / kStep * 10));
    unit = " TiB";
  }
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + unit;
}

}  // namespace inferd
