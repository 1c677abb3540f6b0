// inferdctl's command line: parses it and calls one command. Main thread.
#pragma once

namespace inferd::ctl {

/// The exit code of the program.
int run(int argc, const char* const* argv);

}  // namespace inferd::ctl
