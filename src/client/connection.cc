#include "client/connection.h"

#include <string>

#include "request/limits.h"
#include "wire/error_code.h"

namespace inferd::client {

Expected<void> Connection::send(std::string_view line) {
  if (line.size() - 1 > kMaxFrameBytes) {
    return std::unexpected(refused({Code::kFrameTooLarge, "the request has " + std::to_string(line.size() - 1) + " bytes, at most " +
                                                              std::to_string(kMaxFrameBytes) + " are possible"}));
  }
  sent_ = socket_.write(line);
  return {};
}

Expected<std::string> Connection::read_frame() {
  auto line = socket_.read_line();
  if (cancelled_) return std::unexpected(cancelled());
  if (!line) return std::unexpected(lost(sent_ ? line.error() : sent_.error()));
  return std::move(*line);
}

void Connection::cancel() noexcept {
  cancelled_ = true;
  socket_.shut_down();
}

Failure lost(const Error& error) { return Failure{Failure::Kind::kLost, {}, error.message}; }

Failure cancelled() { return Failure{Failure::Kind::kCancelled, {}, "cancelled"}; }

Failure refused(const Error& error) {
  return Failure{Failure::Kind::kRefused, std::string(wire::error_code_name(error.code)), error.message};
}

Failure not_the_protocol(const Error& error) { return Failure{Failure::Kind::kProtocol, {}, error.message}; }

}  // namespace inferd::client
