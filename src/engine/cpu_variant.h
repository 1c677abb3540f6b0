// The CPU variant of ggml: chosen by what the CPU announces, proven by computing with it. A hypervisor may trap what its CPU announces
// (AMX): the process then dies in prove(), and the daemon starts a new one that skips the variant.
// Main thread, before any other thread.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"

namespace inferd::engine {

/// Loads the variant of `folder` with the best score that is not in `skip` (or the one named `wanted`). Returns its name.
Result<std::string> load_cpu_variant(const std::filesystem::path& folder, const std::vector<std::string>& skip, const std::string& wanted);

/// Multiplies a small matrix of each quantised kind, with one and with many columns.
Status prove_cpu_variant();

}  // namespace inferd::engine
