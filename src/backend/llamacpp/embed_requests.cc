#include "backend/llamacpp/embed_requests.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "request/limits.h"

namespace inferd {
namespace {

constexpr uint64_t kMostNumbers = kMaxFrameBytes / 2;  // each takes two bytes at least, with its comma

// Spec 08 §3.8, whatever the model.
std::string_view prefix_of(EmbedTask task) {
  switch (task) {
    case EmbedTask::kRetrievalQuery: return "task: search result | query: ";
    case EmbedTask::kRetrievalDocument: return "title: none | text: ";
    case EmbedTask::kSimilarity: return "task: sentence similarity | query: ";
    case EmbedTask::kClassification: return "task: classification | query: ";
    case EmbedTask::kClustering: return "task: clustering | query: ";
    case EmbedTask::kQuestionAnswering: return "task: question answering | query: ";
    case EmbedTask::kFactVerification: return "task: fact checking | query: ";
    case EmbedTask::kCodeRetrievalQuery: return "task: code retrieval | query: ";
    case EmbedTask::kUnknown: break;
  }
  return "";
}

engine_wire::Embed message_of(uint64_t id, const EmbedRequest& request) {
  engine_wire::Embed message{.id = id, .input = request.input, .dimensions = request.dimensions};
  if (request.task) {
    const std::string prefix(prefix_of(*request.task));
    for (std::string& text : message.input) text.insert(0, prefix);
  }
  return message;
}

}  // namespace

class EmbedRequests::Handle final : public Generation {
 public:
  Handle(EmbedRequests& requests, uint64_t id) : requests_(requests), id_(id) {}

  void start(bool) override {
    const auto at = requests_.requests_.find(id_);
    if (at == requests_.requests_.end()) return;
    at->second.started = true;
    if (requests_.there_ && !requests_.held_) requests_.send(id_);
  }

  void cancel() override {
    const auto at = requests_.requests_.find(id_);
    if (at == requests_.requests_.end()) return;
    at->second.cancelled = true;
    if (at->second.sent) {
      requests_.send_or_kill_(engine_wire::Cancel{id_});
      return;
    }
    bool cancelled;
    requests_.take(id_, cancelled)->removed();
  }

 private:
  EmbedRequests& requests_;
  const uint64_t id_;
};

std::unique_ptr<Generation> EmbedRequests::add(uint64_t id, std::shared_ptr<const EmbedRequest> request, std::shared_ptr<EmbedSink> sink) {
  auto handle = std::make_unique<Handle>(*this, id);
  if (width_ > 0 && request->dimensions.value_or(0) > width_) {
    sink->failed(Error{Code::kInvalidRequest,
                       "dimensions " + std::to_string(*request->dimensions) + " exceeds model n_embd " + std::to_string(width_)});
  } else if (request->input.size() * uint64_t{request->dimensions.value_or(width_)} > kMostNumbers) {
    sink->failed(Error{Code::kInvalidRequest, std::to_string(request->input.size()) + " vectors of " +
                                                  std::to_string(request->dimensions.value_or(width_)) + " numbers do not fit in a frame"});
  } else {
    requests_[id] = {.request = std::move(request), .sink = std::move(sink)};
  }
  return handle;
}

void EmbedRequests::engine_ready(std::string model, uint32_t width) {
  there_ = true;
  model_ = std::move(model);
  width_ = width;
  send_waiting();
}

void EmbedRequests::hold(bool held) {
  held_ = held;
  send_waiting();
}

void EmbedRequests::send_waiting() {
  if (!there_ || held_) return;
  std::vector<uint64_t> waiting;
  for (const auto& [id, request] : requests_) {
    if (request.started && !request.sent) waiting.push_back(id);
  }
  for (const uint64_t id : waiting) send(id);
}

void EmbedRequests::send(uint64_t id) {
  Request& request = requests_[id];
  request.sent = true;
  if (send_(message_of(id, *request.request))) return;
  bool cancelled;
  const auto sink = take(id, cancelled);
  sink->failed(Error{Code::kBackendUnavailable, "the request could not be handed to the engine (out of descriptors or memory)"});
}

void EmbedRequests::engine_ended() {
  there_ = false;
  std::vector<uint64_t> had;
  for (const auto& [id, request] : requests_) {
    if (request.sent) had.push_back(id);
  }
  for (const uint64_t id : had) {
    bool cancelled;
    const auto sink = take(id, cancelled);
    if (cancelled) {
      sink->removed();
    } else {
      sink->failed(Error{Code::kBackendUnavailable, "the engine stopped; a new one is being started"});
    }
  }
}

void EmbedRequests::fail_all(const Error& error) {
  there_ = false;
  auto requests = std::exchange(requests_, {});
  for (auto& [id, request] : requests) {
    if (request.cancelled) {
      request.sink->removed();
    } else {
      request.sink->failed(error);
    }
  }
}

bool EmbedRequests::computing() const {
  return std::ranges::any_of(requests_, [](const auto& each) { return each.second.computing; });
}

bool EmbedRequests::present() const {
  return std::ranges::any_of(requests_, [](const auto& each) { return each.second.sent; });
}

std::string EmbedRequests::content_of(const EmbedRequest& request) { return engine_wire::encode(engine_wire::ToEngine(message_of(0, request))); }

std::vector<std::string> EmbedRequests::contents() const {
  std::vector<std::string> contents;
  for (const auto& [id, request] : requests_) {
    if (request.sent) contents.push_back(content_of(*request.request));
  }
  return contents;
}

void EmbedRequests::on(const engine_wire::Prepared& message) {
  if (const auto at = requests_.find(message.id); at != requests_.end()) at->second.computing = true;
}

// The request is forgotten before its sink hears anything, which may ask for the next.
std::shared_ptr<EmbedSink> EmbedRequests::take(uint64_t id, bool& cancelled) {
  const auto at = requests_.find(id);
  if (at == requests_.end()) return nullptr;
  cancelled = at->second.cancelled;
  auto sink = std::move(at->second.sink);
  requests_.erase(at);
  return sink;
}

void EmbedRequests::on(engine_wire::Embedded& message) {
  bool cancelled;
  const auto sink = take(message.id, cancelled);
  if (!sink) return;
  if (cancelled) return sink->removed();
  sink->done(Embeddings{.dimensions = message.dimensions, .values = std::move(message.values), .model = model_, .input_tokens = message.input_tokens});
}

bool EmbedRequests::on(const engine_wire::Refused& message) {
  bool cancelled;
  const auto sink = take(message.id, cancelled);
  if (!sink) return false;
  if (cancelled) {
    sink->removed();
  } else {
    sink->failed(Error{message.code, message.message});
  }
  return true;
}

bool EmbedRequests::on(const engine_wire::Removed& message) {
  bool cancelled;
  const auto sink = take(message.id, cancelled);
  if (!sink) return false;
  sink->removed();
  return true;
}

}  // namespace inferd
