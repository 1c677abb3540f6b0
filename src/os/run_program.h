// Runs a program to its end and gives what it wrote: for short helpers, not for what has to be watched (child_process). Blocks; any
// thread. Signals of the terminal reach the program too, as it stays in our group.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"

namespace inferd::os {

struct ProgramEnd {
  int exit_code = 0;      // meaningful without `signal`
  std::string signal;     // "SIGABRT" if one ended it
  std::string out, err;   // standard output and error, each cut at the bound
};

/// Standard input is empty. Errors: the program cannot be started (names it).
Result<ProgramEnd> run_program(const std::filesystem::path& program, const std::vector<std::string>& arguments, size_t most_bytes = 1u << 20);

}  // namespace inferd::os
