// Text that nobody can guess. Any thread.
#pragma once

#include <cstddef>
#include <string>

namespace inferd::engine {

/// So many lower-case letters and digits.
std::string random_text(size_t length);

}  // namespace inferd::engine
