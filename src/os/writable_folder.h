// Whether this process may make files in a folder, asked without making one. Used by `inferdctl doctor`; any thread.
#pragma once

#include <filesystem>

#include "base/error.h"

namespace inferd::os {

/// Nothing is wrong, or why: the path is missing, no folder, or not ours to write to. Errors name it.
Status check_writable_folder(const std::filesystem::path& path);

}  // namespace inferd::os
