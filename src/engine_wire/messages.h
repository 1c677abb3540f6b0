// The messages between the daemon and an engine process, and their bytes. Plain data, pure functions; any thread.
// One packet (os/packet_socket) is one message:
//
//   u8 type, then the fields in the order in which they stand below; integers little-endian; text = u32 length + bytes;
//   list = u32 count + elements; bool = u8; optional = u8 present + value
//
// The life of a request: prepare -> prepared | refused; start -> step ...; pause; start ...; cancel -> removed. `started` in the first step
// entry says that it holds a sequence. A death of the process is the end of the socket.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "request/generate.h"

namespace inferd::engine_wire {

// ---- daemon to engine ----

/// Along with the packet comes the model file's descriptor, then those of the turnstile of this daemon's engines and of the projector, if there are.
struct Load {
  uint32_t n_ctx = 0;      // limit of one request, prompt plus answer, in tokens; 0: 8192 or the model's own, whichever is less
  uint32_t sequences = 1;  // running at once
  uint32_t kv_cells = 0;   // size of the pool in tokens; 0: max(n_ctx, min(sequences * n_ctx, 16384))
  uint32_t threads = 1;
  uint64_t host_cache_bytes = 0;  // for finished sequences outside the KV cache
  uint32_t long_step_ms = 500;    // a step that is predicted to take longer is announced by `long_step`
  bool embed = false;             // embeddings, beside text or, for a model that cannot write, alone
  int32_t embed_pooling = -1;     // llama_pooling_type; -1: the model file's, else mean
  uint32_t embed_n_ctx = 2048;    // longest input in tokens
  bool has_turnstile = false, has_projector = false;
  uint32_t image_max_tokens = 0;  // of one image, where the projector has a choice; 0: its own
};
/// Render, tokenise, check. The id is the daemon's, unique in this process.
struct Prepare {
  uint64_t id = 0;
  uint64_t scope = 0;       // only prefixes that requests of the same scope computed are reused
  GenerateRequest request;  // without its own id, stream, local_only, progress: these are the daemon's business
};
/// Give it a sequence when there is one; again after `pause`.
struct Start {
  uint64_t id = 0;
  bool promoted = false;  // a batch request that counts as interactive from now on
};
/// Take its sequence away; what it has computed becomes a finished sequence.
struct Pause {
  uint64_t id = 0;
};
struct Cancel {
  uint64_t id = 0;
};
/// Answered by `embedded` or `refused`; ids are those of `prepare`.
struct Embed {
  uint64_t id = 0;
  std::vector<std::string> input = {};  // with the task's prefix
  std::optional<uint32_t> dimensions = {};  // absent: the model's width
};

// ---- engine to daemon ----

/// The CPU variant is loaded and about to be proven; a death before `proven` condemns it.
struct Variant {
  std::string name;
};
struct Proven {};
struct Loading {
  uint32_t percent = 0;
};
struct Loaded {
  std::string model_name;  // general.name of the file
  uint32_t n_ctx = 0;
  uint32_t sequences = 0;
  uint32_t kv_cells = 0;
  uint32_t n_ctx_train = 0;
  uint32_t longest_token = 1;  // bytes: a text of n bytes has at least n / this tokens
  bool text = true;            // it writes
  bool tools = false, thinking = false, vision = false, audio = false;
  uint32_t embed_width = 0;    // components of an embedding; 0: it makes none
  uint32_t embed_n_ctx = 0;    // longest input in tokens
};
struct Prepared {
  uint64_t id = 0;
  uint32_t prompt_tokens = 0;
};
struct Refused {
  uint64_t id = 0;
  Code code = Code::kInvalidRequest;
  std::string message;
};
/// The next step may take so long.
struct LongStep {
  uint32_t predicted_ms = 0;
};
/// Something that the operator should know.
struct Warning {
  std::string message;
};
/// Everything that one step produced; sent after every step, also if that is nothing.
struct Step {
  struct Entry {
    uint64_t id = 0;
    uint32_t tokens = 0;                     // generated in this step
    std::vector<Piece> pieces = {};          // of the answer
    bool started = false;                    // holds a sequence from now on
    uint32_t prompt_done = 0;                // tokens of the prompt that are in the cache; 0: as before
    uint32_t computed = 0;                   // of these: computed in this step
    std::optional<StopReason> stop_reason = {};  // ended: nothing follows
    Usage usage = {};                        // with stop_reason
    bool tool_choice_unsatisfied = false;    // with stop_reason
    Code error_code = Code::kInternal;       // with kError
    std::string message = {};                // with kError
  };
  std::vector<Entry> entries;
};
/// The answer to cancel, always: no sequence, no cell and no queue entry of the request is left.
struct Removed {
  uint64_t id = 0;
};
struct Embedded {
  uint64_t id = 0;
  uint32_t dimensions = 0;
  uint32_t input_tokens = 0;
  std::vector<float> values;  // [inputs][dimensions]
};
/// Loading failed; the process ends.
struct Failed {
  std::string message;
};

using ToEngine = std::variant<Load, Prepare, Start, Cancel, Pause, Embed>;
using FromEngine = std::variant<Variant, Proven, Loading, Loaded, Prepared, Refused, Step, Removed, Failed, LongStep, Warning, Embedded>;

std::string encode(const ToEngine& message);
std::string encode(const FromEngine& message);
/// Errors: unknown type, short or overlong fields, values out of range (kInternal: the other side is ours).
Result<ToEngine> decode_to_engine(std::string_view bytes);
Result<FromEngine> decode_from_engine(std::string_view bytes);

}  // namespace inferd::engine_wire
