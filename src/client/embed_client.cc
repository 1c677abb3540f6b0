#include <utility>

#include "client/connection.h"
#include "client/dial.h"
#include "client/to_wire.h"
#include "inferd/client.h"
#include "wire/embed_codec.h"

namespace inferd::client {

struct EmbedClient::Impl : Connection {
  using Connection::Connection;
};

EmbedClient::EmbedClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EmbedClient::EmbedClient(EmbedClient&&) noexcept = default;
EmbedClient& EmbedClient::operator=(EmbedClient&&) noexcept = default;
EmbedClient::~EmbedClient() = default;

Expected<EmbedClient> EmbedClient::connect(const Endpoint& endpoint) {
  auto fd = dial(endpoint, "infer.embed.sock");
  if (!fd) return std::unexpected(fd.error());
  return EmbedClient(std::make_unique<Impl>(std::move(*fd)));
}

Expected<EmbedAnswer> EmbedClient::embed(const EmbedRequest& request) {
  const auto converted = to_wire(request);
  if (!converted) return std::unexpected(converted.error());
  std::string line;
  wire::embed::append_request(line, *converted);
  line += '\n';
  if (auto sent = impl_->send(line); !sent) return std::unexpected(sent.error());
  const auto frame = impl_->read_frame();
  if (!frame) return std::unexpected(frame.error());
  auto response = wire::embed::decode_response(*frame);
  if (!response) return std::unexpected(not_the_protocol(response.error()));
  if (const auto* failure = std::get_if<wire::embed::Failure>(&*response)) return std::unexpected(refused(failure->error));
  auto& vectors = std::get<wire::embed::Vectors>(*response);
  Embeddings& embeddings = vectors.embeddings;
  if (embeddings.values.size() != request.input.size() * embeddings.dimensions) {
    return std::unexpected(not_the_protocol({Code::kInternal, std::to_string(embeddings.values.size()) + " values came for " +
                                                                  std::to_string(request.input.size()) + " inputs of " +
                                                                  std::to_string(embeddings.dimensions) + " dimensions"}));
  }
  return EmbedAnswer{.dimensions = embeddings.dimensions,
                     .values = std::move(embeddings.values),
                     .model = std::move(embeddings.model),
                     .backend = std::move(vectors.backend),
                     .route = std::move(vectors.route),
                     .input_tokens = embeddings.input_tokens};
}

void EmbedClient::cancel() noexcept { impl_->cancel(); }

}  // namespace inferd::client
