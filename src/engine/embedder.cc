#include "engine/embedder.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace inferd::engine {
namespace {

// The first components of a vector, brought to length 1; a vector of zeros stays. False: one of them is no number.
bool cut_and_normalize(std::span<const float> from, std::span<float> to) {
  double sum = 0;
  for (size_t i = 0; i < to.size(); ++i) sum += static_cast<double>(from[i]) * from[i];
  if (!std::isfinite(sum)) return false;
  const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
  for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(from[i] * scale);
  return true;
}

std::string input_name(size_t text) { return "input[" + std::to_string(text) + "]"; }

}  // namespace

Embedder::Embedder(std::unique_ptr<EmbedModel> model, double long_batch_ms, Sink sink)
    : model_(std::move(model)), long_batch_ms_(long_batch_ms), sink_(std::move(sink)) {}

// ---- a request comes and goes

void Embedder::announce(uint64_t id) {
  const std::lock_guard lock(mutex_);
  announced_.insert(id);
}

bool Embedder::is_announced(uint64_t id) {
  const std::lock_guard lock(mutex_);
  return announced_.contains(id);
}

void Embedder::refuse(uint64_t id, const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (announced_.erase(id) == 0) return;  // cancelled meanwhile
  }
  sink_.refused(id, error);
}

bool Embedder::add(Job job) {
  const auto request = std::make_shared<Request>();
  request->id = job.id;
  request->dimensions = job.dimensions.value_or(width());
  if (request->dimensions > width()) {
    const std::string both = std::to_string(request->dimensions) + " exceeds model n_embd " + std::to_string(width());
    refuse(job.id, {Code::kInvalidRequest, "dimensions " + both});
    return false;
  }
  if (const auto tokenized = tokenize(job, *request); !tokenized) {
    refuse(job.id, tokenized.error());
    return false;
  }
  const size_t texts = job.input.size();
  job.input = {};
  if (request->dimensions > 0) {
    std::vector<uint32_t> lengths(texts);
    for (uint32_t text = 0; text < texts; ++text) lengths[text] = request->length(text);
    request->batches = pack_batches(lengths, model_->limits());
    request->values.resize(texts * request->dimensions);
  }
  const bool is_done = request->batches.empty();
  {
    const std::lock_guard lock(mutex_);
    if (announced_.erase(request->id) == 0) return false;  // cancelled meanwhile
    if (!is_done) queue_.push_back(request);
  }
  is_done ? sink_.done(result_of(*request)) : sink_.wake();
  return !is_done;
}

Status Embedder::tokenize(Job& job, Request& request) {
  request.begins.reserve(job.input.size() + 1);
  request.begins.push_back(0);
  for (size_t text = 0; text < job.input.size(); ++text) {
    if (!is_announced(job.id)) return fail(Code::kInvalidRequest, "cancelled");  // nobody hears it
    const auto too_long = [&](const std::string& tokens) {
      return fail(Code::kInvalidRequest, input_name(text) + " has " + tokens + " tokens, the model takes at most " + std::to_string(n_ctx()));
    };
    if (const size_t fewest = model_->fewest_tokens(job.input[text].size()); fewest > n_ctx()) return too_long("at least " + std::to_string(fewest));
    const auto tokens = model_->tokenize(job.input[text]);
    if (!tokens) return fail(tokens.error().code, input_name(text) + ": " + tokens.error().message);
    if (tokens->empty()) return fail(Code::kInvalidRequest, input_name(text) + ": input produced zero tokens");
    if (tokens->size() > n_ctx()) return too_long(std::to_string(tokens->size()));
    request.tokens.insert(request.tokens.end(), tokens->begin(), tokens->end());
    request.begins.push_back(static_cast<uint32_t>(request.tokens.size()));
  }
  return {};
}

bool Embedder::cancel(uint64_t id) {
  {
    const std::lock_guard lock(mutex_);
    if (announced_.erase(id) == 0) {
      const auto at = std::ranges::find(queue_, id, [](const RequestPointer& request) { return request->id; });
      if (at == queue_.end()) return false;
      const RequestPointer request = *at;
      queue_.erase(at);
      request->cancelled = true;
      const bool computes = std::ranges::find(computing_, request) != computing_.end();
      if (computes && std::ranges::all_of(computing_, &Request::cancelled, [](const RequestPointer& each) -> Request& { return *each; })) {
        request->owes_removed = true;
        model_->abort(true);
        return true;
      }
    }
  }
  sink_.removed(id);  // it holds nothing; what is left of it in a batch of others is thrown away
  return true;
}

bool Embedder::has_work() {
  const std::lock_guard lock(mutex_);
  return !queue_.empty();
}

// ---- a batch

bool Embedder::run_one() {
  using Clock = std::chrono::steady_clock;
  std::vector<Part> parts = choose_parts();
  if (parts.empty()) return false;
  std::vector<std::span<const Token>> inputs;
  size_t tokens = 0;
  for (const Part& part : parts) {
    for (const uint32_t text : part.request->batches[part.request->computed]) {
      inputs.push_back(part.request->text(text));
      tokens += inputs.back().size();
    }
  }
  if (const double predicted_ms = times_.predicted_ms(tokens); predicted_ms > long_batch_ms_) sink_.long_batch(static_cast<uint32_t>(predicted_ms));
  const auto begin = Clock::now();
  const auto computed = model_->compute(inputs);
  if (computed && *computed) {
    times_.learn(tokens, std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    take_results(parts);
  }
  if (!computed) {
    for (Part& part : parts) part.error = computed.error();
  }
  end_batch(std::move(parts), computed && *computed);
  return true;
}

// The next batch of the first request; then, of those behind it, what finds room beside it.
std::vector<Embedder::Part> Embedder::choose_parts() {
  const BatchLimits limits = model_->limits();
  const std::lock_guard lock(mutex_);
  std::vector<Part> parts;
  size_t tokens = 0, inputs = 0;
  for (const RequestPointer& request : queue_) {
    const auto& batch = request->batches[request->computed];
    size_t more = 0;
    for (const uint32_t text : batch) more += request->length(text);
    if (!parts.empty() && (tokens + more > limits.tokens || inputs + batch.size() > limits.inputs)) continue;
    tokens += more;
    inputs += batch.size();
    parts.push_back({request});
    computing_.push_back(request);
    if (tokens >= limits.tokens || inputs >= limits.inputs) break;
  }
  model_->abort(false);
  return parts;
}

void Embedder::take_results(std::vector<Part>& parts) {
  size_t place = 0;
  for (Part& part : parts) {
    Request& request = *part.request;
    for (const uint32_t text : request.batches[request.computed]) {
      const std::span<float> values = std::span(request.values).subspan(size_t{text} * request.dimensions, request.dimensions);
      if (cut_and_normalize(model_->embedding(place++), values) || part.error) continue;
      part.error = Error{Code::kInternal, input_name(text) + ": the model computed something that is no number"};
    }
  }
}

void Embedder::end_batch(std::vector<Part> parts, bool computed) {
  std::vector<RequestPointer> removed, done;
  std::vector<std::pair<RequestPointer, Error>> failed;
  {
    const std::lock_guard lock(mutex_);
    computing_.clear();
    for (Part& part : parts) {
      const RequestPointer& request = part.request;
      if (request->cancelled) {
        if (request->owes_removed) removed.push_back(request);
        continue;
      }
      if (computed) ++request->computed;
      if (part.error) {
        failed.emplace_back(request, std::move(*part.error));
      } else if (request->computed == request->batches.size()) {
        done.push_back(request);
      } else {
        continue;
      }
      queue_.remove(request);
    }
    // The first has had its turn.
    if (!queue_.empty() && queue_.front() == parts.front().request) queue_.splice(queue_.end(), queue_, queue_.begin());
  }
  for (const auto& request : removed) sink_.removed(request->id);
  for (const auto& [request, error] : failed) sink_.refused(request->id, error);
  for (const auto& request : done) sink_.done(result_of(*request));
}

engine_wire::Embedded Embedder::result_of(Request& request) {
  return {.id = request.id,
          .dimensions = request.dimensions,
          .input_tokens = static_cast<uint32_t>(request.tokens.size()),
          .values = std::move(request.values)};
}

}  // namespace inferd::engine
