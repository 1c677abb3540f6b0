// The client's requests as those of the wire: names become values, media become attachments, JSON texts are checked and made compact, so
// that no line end of theirs ends the frame. Called by the clients before anything is sent. Pure functions; any thread.
#pragma once

#include "inferd/client.h"
#include "request/embed.h"
#include "request/generate.h"

namespace inferd::client {

// What cannot be sent as it is: kRefused, invalid_request, with a message that names the field.
Expected<GenerateRequest> to_wire(const Request& request);
Expected<GenerateRequest> to_wire(const TypedRequest& request);
Expected<inferd::EmbedRequest> to_wire(const EmbedRequest& request);

}  // namespace inferd::client
