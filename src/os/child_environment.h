// What a program that we start sees of our environment. Any thread.
#pragma once

#include <string>
#include <vector>

namespace inferd::os {

/// "NAME=value" of those of our variables that the loader, the C library and the sanitizers read, and of no others: an operator's
/// environment holds keys of remote providers. `added` stands behind them; a name that is set already keeps its value.
std::vector<std::string> child_environment(const std::vector<std::string>& added = {});

/// For exec: pointers into `strings` and a null pointer.
std::vector<char*> to_pointers(std::vector<std::string>& strings);

}  // namespace inferd::os
