// "Did you mean ...?": the known name that a misspelt one is closest to. Pure; any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace inferd {

/// Insertions, deletions, substitutions and swaps of neighbours that make `a` of `b` (optimal string alignment), case ignored.
size_t edit_distance(std::string_view a, std::string_view b);

/// The closest of `names`, if it is close enough: at most one edit for every three letters, and at least one.
std::optional<std::string_view> nearest_name(std::string_view given, std::span<const std::string_view> names);

}  // namespace inferd
