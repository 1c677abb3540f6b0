// What a command-line program needs of its terminal: is there one, how wide, Ctrl-C, reading a line. Main thread.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace inferd::os {

enum class StandardStream { kIn, kOut, kError };
bool is_terminal(StandardStream stream);

/// Columns of the terminal at standard error, 80 if unknown.
size_t terminal_width();

/// While it lives, Ctrl-C calls `handler` instead of ending the program. The handler runs in a signal handler: async-signal-safe
/// calls only. One at a time.
class InterruptHandler {
 public:
  explicit InterruptHandler(std::function<void()> handler);
  ~InterruptHandler();
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;
};

struct TypedLine {
  enum class State { kLine, kInterrupted, kEnd };
  State state;
  std::string text;
};
/// One line of standard input without its LF.
TypedLine read_typed_line();

/// All of standard input.
std::string read_standard_input();

}  // namespace inferd::os
