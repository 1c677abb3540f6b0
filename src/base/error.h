// The one error type of inferd. Everybody uses it; on any thread; it owns its text.
// A Code says what went wrong and who can act on it; wire/error_code maps it to what a client sees.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace inferd {

enum class Code {
  kInvalidRequest,      // the caller's request cannot be served as it is: the caller changes it
  kQueueFull,           // every waiting place is taken: the caller tries later
  kBackendUnavailable,  // no backend can answer now: the caller tries later, the operator looks at the log
  kFrameTooLarge,       // the peer sent more than the limit of a frame: the caller sends less
  kInternal,            // a defect of ours or of a library: the operator reports it
  kUsage,               // a wrong command line, environment or config file: whoever started the program
  kNotInThisBuild,      // something that this build does not have: the operator takes it out
  kNotFound,            // a file or socket that should be there is not
  kInUse,               // somebody else holds the lock, socket or port
  kNotPermitted,        // the operating system refuses: the operator grants it
  kIo,                  // any other failure of the operating system
  kAttachmentUnsupported,  // an image, a sound or a video that no backend here can take: the caller leaves it out
  kToolCallMalformed,   // the model wrote a tool call that cannot be read: the caller tries again
  kEmbedUnsupported,    // no backend here makes embeddings: the operator configures one
  kIntegrity,           // a file is not what its digest or its format says
};

struct [[nodiscard]] Error {
  Code code = Code::kInternal;
  std::string message;  // one line for a person; names the path, address or field
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(Code code, std::string message) {
  return std::unexpected<Error>(Error{code, std::move(message)});
}

}  // namespace inferd
