#include "engine/step_times.h"

#include <algorithm>
#include <bit>

namespace inferd::engine {
namespace {

constexpr double kSmoothing = 0.2;      // of the moving averages
constexpr double kSlowdown = 2.4;       // a stream's gaps beside a prompt, against the undisturbed ones: leaves the prompt 1 - 1 / 2.4 of the time
constexpr double kLeastSlowdown = 2;    // where a single token more makes much of a step: half of the time

}  // namespace

size_t StepTimes::index_of(size_t tokens) { return std::min(kSizes - 1, static_cast<size_t>(std::bit_width(tokens) - 1)); }

// How the time grows between measured sizes: reading the weights, then computing. Only the proportions matter.
double StepTimes::shape(double tokens) { return 2 + tokens; }

void StepTimes::learn(size_t tokens, double ms) {
  double& ratio = ratio_[index_of(tokens)];
  const double measured = ms / shape(static_cast<double>(tokens));
  ratio = ratio == 0 ? measured : ratio + kSmoothing * (measured - ratio);
}

double StepTimes::predicted_ms(size_t tokens) const {
  const size_t index = index_of(tokens);
  constexpr double kUnknown = 3;  // ms; replaced by the first step
  for (size_t distance = 0; distance < kSizes; ++distance) {
    if (index >= distance && ratio_[index - distance] > 0) return ratio_[index - distance] * shape(static_cast<double>(tokens));
    if (index + distance < kSizes && ratio_[index + distance] > 0) return ratio_[index + distance] * shape(static_cast<double>(tokens));
  }
  return kUnknown * shape(static_cast<double>(tokens));
}

size_t StepTimes::within(double ms, size_t most) const {
  size_t low = 1, high = std::max<size_t>(1, most);
  while (low < high) {
    const size_t middle = (low + high + 1) / 2;
    if (predicted_ms(middle) <= ms) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

size_t StepTimes::polite_slice(size_t streams, size_t most) const {
  if (streams == 0) return most;
  const size_t in_time = within(kSlowdown * predicted_ms(streams), streams + most);
  size_t slice = in_time > streams ? in_time - streams : 1;
  while (slice < most && predicted_ms(streams + slice) < kLeastSlowdown * predicted_ms(streams)) ++slice;
  return std::min(slice, most);
}

}  // namespace inferd::engine
