// The embed wire (spec 03): one request, one frame. Each read and written. Pure functions; any thread.
//
//   client -> server   {"id","input":[TEXT...],"dimensions","task","local_only"}
//   server -> client   {"type":"embeddings","id","embeddings":[[f...]...],"dimensions","model","usage":{"input_tokens"},"backend","route"}
//                      error frames: see reply_frames.h
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"
#include "request/embed.h"
#include "wire/decode_failure.h"
#include "wire/reply_frames.h"

namespace inferd::wire::embed {

/// Nothing for a name that is none of spec 03 §2.
std::optional<EmbedTask> task_from_name(std::string_view name);

std::variant<EmbedRequest, DecodeFailure> decode_request(std::string_view line);

/// What spec 03 §3 checks before admission, in its order, then that `dimensions` is not 0 (a vector without numbers is of no use, and
/// nothing in Embeddings could say how many there are); the connection stays open. Errors are kInvalidRequest.
Status validate(const EmbedRequest& request);

/// Whether a normalised vector of `dimensions` for each input can be sent in one frame; asked before any work. The numbers are taken to be
/// as long as those of vectors whose parts are normally distributed, less some 2 %, so that what is refused could not have been sent
/// and little of what could not is computed in vain; append_embeddings knows exactly. Errors are kInvalidRequest and name both sizes.
Status fits_one_frame(const EmbedRequest& request, uint32_t dimensions);

/// Leaves out what is absent or empty, as published clients do. No LF.
void append_request(std::string& out, const EmbedRequest& request);

// Frames of the server, each with its LF. A frame of kMaxFrameBytes or more is refused with kFrameTooLarge and leaves `out` as it was
// (spec 01 §2.2). `embeddings.values` holds a multiple of `embeddings.dimensions` numbers.
Status append_embeddings(std::string& out, std::string_view id, const Embeddings& embeddings, std::string_view backend, std::string_view route);
using wire::append_error;

struct Vectors {
  std::string id;
  Embeddings embeddings;
  std::string backend, route;
};
using wire::Failure;
using Response = std::variant<Vectors, Failure>;

/// What a client reads. Errors: not JSON, an unknown type or code, a missing field, a vector of another length than `dimensions`, a
/// number that is none (the server writes `null` for what is not finite).
Result<Response> decode_response(std::string_view line);

}  // namespace inferd::wire::embed
