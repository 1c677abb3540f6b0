#include <utility>

#include "client/connection.h"
#include "client/dial.h"
#include "client/to_wire.h"
#include "inferd/client.h"
#include "wire/v2_codec.h"

namespace inferd::client {
namespace {

// A function of its own: the copies of images that it makes on the way are gone when the line is sent.
Expected<std::string> line_of(const TypedRequest& request) {
  auto converted = to_wire(request);
  if (!converted) return std::unexpected(converted.error());
  std::string line;
  wire::v2::append_request(line, *converted);
  line += '\n';
  return line;
}

AnswerPiece to_client(Piece piece) {
  switch (piece.kind) {
    case Piece::Kind::kText: return {AnswerPiece::Kind::kText, std::move(piece.text), {}};
    case Piece::Kind::kThinking: return {AnswerPiece::Kind::kThinking, std::move(piece.text), {}};
    case Piece::Kind::kToolCall: break;
  }
  return {AnswerPiece::Kind::kToolCall, {}, {std::move(piece.call.id), std::move(piece.call.name), std::move(piece.call.input)}};
}

void add(TypedAnswer& answer, AnswerPiece piece) {
  switch (piece.kind) {
    case AnswerPiece::Kind::kText: answer.text += piece.text; break;
    case AnswerPiece::Kind::kThinking: answer.thinking += piece.text; break;
    case AnswerPiece::Kind::kToolCall: answer.tool_calls.push_back(std::move(piece.call)); break;
  }
}

void finish(TypedAnswer& answer, wire::v2::Done done) {
  const Usage& usage = done.completion.usage;
  answer.stop_reason = wire::v2::stop_reason_name(done.completion.stop_reason);
  answer.backend = std::move(done.backend);
  answer.route = std::move(done.route);
  answer.input_tokens = usage.prompt_tokens;
  answer.output_tokens = usage.completion_tokens;
  answer.cached_input_tokens = usage.cached_prompt_tokens;
  answer.tool_choice_unsatisfied = done.completion.tool_choice_unsatisfied;
}

}  // namespace

struct TypedClient::Impl : Connection {
  using Connection::Connection;
};

TypedClient::TypedClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TypedClient::TypedClient(TypedClient&&) noexcept = default;
TypedClient& TypedClient::operator=(TypedClient&&) noexcept = default;
TypedClient::~TypedClient() = default;

Expected<TypedClient> TypedClient::connect(const Endpoint& endpoint) {
  auto fd = dial(endpoint, "infer.v2.sock");
  if (!fd) return std::unexpected(fd.error());
  return TypedClient(std::make_unique<Impl>(std::move(*fd)));
}

Expected<TypedAnswer> TypedClient::generate(const TypedRequest& request, const OnPiece& on_piece, const OnFrame& on_frame) {
  {
    const auto line = line_of(request);
    if (!line) return std::unexpected(line.error());
    if (auto sent = impl_->send(*line); !sent) return std::unexpected(sent.error());
  }
  TypedAnswer answer;
  for (;;) {
    const auto line = impl_->read_frame();
    if (!line) return std::unexpected(line.error());
    auto response = wire::v2::decode_response(*line);
    if (!response) return std::unexpected(not_the_protocol(response.error()));
    if (on_frame) on_frame(*line);
    if (auto* frame = std::get_if<wire::v2::Frame>(&*response)) {
      AnswerPiece piece = to_client(std::move(frame->piece));
      if (on_piece && !on_piece(piece)) {
        cancel();
        return std::unexpected(cancelled());
      }
      add(answer, std::move(piece));
    } else if (const auto* failure = std::get_if<wire::v2::Failure>(&*response)) {
      return std::unexpected(refused(failure->error));
    } else if (auto* done = std::get_if<wire::v2::Done>(&*response)) {
      finish(answer, std::move(*done));
      return answer;
    }
  }
}

void TypedClient::cancel() noexcept { impl_->cancel(); }

}  // namespace inferd::client
