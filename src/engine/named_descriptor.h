// A name for an open file, for a library that opens files by name alone: libmtmd reads a projector so, several times over, and in the
// sandbox nothing can be opened. While an object of this lives, fopen() of this program, and with it C++'s file streams, takes path() for
// a copy of the descriptor; every other name goes to the C library as before, and the sandbox has no hole. Main thread; one at a time.
#pragma once

#include <string>

namespace inferd::engine {

class NamedDescriptor {
 public:
  /// The descriptor stays the caller's. Its position changes; what is opened by the name is at the beginning, one stream at a time.
  explicit NamedDescriptor(int fd);
  ~NamedDescriptor();
  NamedDescriptor(const NamedDescriptor&) = delete;
  NamedDescriptor& operator=(const NamedDescriptor&) = delete;

  const char* path() const { return path_.c_str(); }

 private:
  std::string path_;
};

}  // namespace inferd::engine
