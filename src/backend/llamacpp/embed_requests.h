// The requests for embeddings that an engine has or will have: sent one by one when they start, kept over the start of a new engine. I/O thread;
// owned by LlamacppBackend.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine_wire/messages.h"

namespace inferd {

class EmbedRequests {
 public:
  /// False if a message could not be handed to the engine.
  using Send = std::function<bool(const engine_wire::ToEngine&)>;

  /// `send_or_kill` ends an engine that a message cannot be handed to.
  EmbedRequests(Send send, std::function<void(const engine_wire::ToEngine&)> send_or_kill)
      : send_(std::move(send)), send_or_kill_(std::move(send_or_kill)) {}

  /// A new request. `id` is unique among all of the backend.
  std::unique_ptr<Generation> add(uint64_t id, std::shared_ptr<const EmbedRequest> request, std::shared_ptr<EmbedSink> sink);

  /// An engine is there: it gets what has started. `model` names it to clients, `width` is the components of its embeddings.
  void engine_ready(std::string model, uint32_t width);
  /// It is gone: those that it had fail, since one of them may be why; the others wait for the next.
  void engine_ended();
  void fail_all(const Error& error);
  /// While a request of another kind has to run alone nothing is sent.
  void hold(bool held);
  /// The engine computes for one, or has it otherwise.
  bool computing() const;
  bool present() const;
  /// What the engine has, as it was sent but for the ids: one of them may be why it dies.
  std::vector<std::string> contents() const;
  static std::string content_of(const EmbedRequest& request);

  void on(engine_wire::Embedded& message);
  /// It is tokenised: batches follow.
  void on(const engine_wire::Prepared& message);
  /// False: it is not one of these.
  bool on(const engine_wire::Refused& message);
  bool on(const engine_wire::Removed& message);

 private:
  class Handle;
  struct Request {
    std::shared_ptr<const EmbedRequest> request;
    std::shared_ptr<EmbedSink> sink;
    bool started = false, sent = false, computing = false, cancelled = false;
  };
  void send(uint64_t id);
  std::shared_ptr<EmbedSink> take(uint64_t id, bool& cancelled);

  void send_waiting();

  Send send_;
  std::function<void(const engine_wire::ToEngine&)> send_or_kill_;
  bool there_ = false, held_ = false;
  std::string model_;
  uint32_t width_ = 0;
  std::map<uint64_t, Request> requests_;
};

}  // namespace inferd
