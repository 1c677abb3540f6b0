// What answers requests: the one interface of every adapter (mock, llamacpp, ...). Built by daemon/, called by schedule/.
// Everything here happens on the I/O thread; an adapter that works elsewhere posts back to it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "request/capabilities.h"
#include "request/embed.h"
#include "request/generate.h"

namespace inferd {

/// What becomes of one generation. Calls may come from inside prepare() and start(). Exactly one of done(), failed() and removed()
/// ends it; nothing follows.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  /// The request is checked and counted and may be started. At most once.
  virtual void prepared(const Usage& planned) = 0;
  /// So many tokens of the prompt are done, `computed` of them since the last call (the others were held).
  virtual void prefilled(uint32_t prompt_tokens_done, uint32_t computed) = 0;
  /// What of the answer came since the last call, possibly nothing yet; `tokens` were generated.
  virtual void answer(std::span<const Piece> pieces, uint32_t tokens) = 0;
  virtual void done(const Completion& completion) = 0;
  /// kInvalidRequest: the caller's fault; kBackendUnavailable, kInternal: the backend's.
  virtual void failed(const Error& error) = 0;
  /// After cancel(): nothing of the request is left in the backend.
  virtual void removed() = 0;
};

/// What becomes of one request for embeddings, like TokenSink.
class EmbedSink {
 public:
  virtual ~EmbedSink() = default;
  virtual void done(Embeddings embeddings) = 0;
  virtual void failed(const Error& error) = 0;
  virtual void removed() = 0;
};

/// One request inside a backend. Destroying it without cancel() is allowed only after it has ended.
class Generation {
 public:
  virtual ~Generation() = default;
  /// Begins to generate, after prepared(); again, goes on after pause(). `promoted`: a batch request that has aged to an interactive one.
  virtual void start(bool promoted) = 0;
  /// Others need its place: it stands still, keeping what it has done as well as memory allows. Only if the backend can_pause().
  virtual void pause() {}
  /// Stops the work at any point. removed() follows, unless done() or failed() was on its way before.
  virtual void cancel() = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view kind() const = 0;         // shown to clients as `backend`
  virtual const std::string& name() const = 0;       // the entry's name, shown as `route`
  virtual bool ready() const = 0;
  virtual const Capabilities& capabilities() const = 0;  // known once it is loaded
  /// True if it mends itself after a failure (a new engine process): the breaker then leaves kBackendUnavailable alone.
  virtual bool mends_itself() const { return false; }
  virtual size_t active_limit() const = 0;           // requests that it runs at once, at least 1
  virtual bool can_pause() const { return false; }

  /// Loads what has to be loaded; `on_loaded` is called once, possibly before load() returns.
  virtual void load(std::function<void(Status)> on_loaded) = 0;

  /// Checks, renders and counts a request. The sink is kept until the generation has ended. Never null.
  virtual std::unique_ptr<Generation> prepare(std::shared_ptr<const GenerateRequest> request, std::shared_ptr<TokenSink> sink) = 0;

  /// Checks a request for embeddings; work begins with start(), and there is no pause(). Only if capabilities().embed. Never null.
  virtual std::unique_ptr<Generation> embed(std::shared_ptr<const EmbedRequest> request, std::shared_ptr<EmbedSink> sink);
};

}  // namespace inferd
