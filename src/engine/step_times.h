// What a step costs on this machine, learnt from the steps that were made: the time by the number of tokens, and the sizes of prompt slices
// that follow from it. Pure; step thread.
#pragma once

#include <array>
#include <cstddef>

namespace inferd::engine {

class StepTimes {
 public:
  /// A step of `tokens` (1 or more) took so long.
  void learn(size_t tokens, double ms);
  double predicted_ms(size_t tokens) const;

  /// The most tokens of a step that takes at most `ms`, from 1 to `most`.
  size_t within(double ms, size_t most) const;

  /// Prompt tokens next to `streams` that are owed a steady pace: as many as leave the step at most kSlowdown times the streams' own, and
  /// at least so many that they have half of the time. The measured times follow the depth of the prompt, so its share of the time stays
  /// the same while its tokens get dearer.
  size_t polite_slice(size_t streams, size_t most) const;

 private:
  static constexpr size_t kSizes = 10;  // 1, 2, 4, ... 512
  static size_t index_of(size_t tokens);
  static double shape(double tokens);

  std::array<double, kSizes> ratio_{};  // measured / shape; 0: not measured
};

}  // namespace inferd::engine
