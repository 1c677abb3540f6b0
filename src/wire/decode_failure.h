// A line that is no request of its wire: every codec's decode_request returns it, the session answers with it and closes. Plain data.
#pragma once

#include <string>

namespace inferd::wire {

struct DecodeFailure {
  std::string id;  // the request's, where one could be read; else empty
  std::string message;
};

}  // namespace inferd::wire
