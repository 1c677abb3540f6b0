#include "backend/backend.h"

namespace inferd {
namespace {

class Ended final : public Generation {
 public:
  void start(bool) override {}
  void cancel() override {}
};

}  // namespace

std::unique_ptr<Generation> Backend::embed(std::shared_ptr<const EmbedRequest>, std::shared_ptr<EmbedSink> sink) {
  sink->failed(Error{Code::kEmbedUnsupported, "embed not supported by this backend"});
  return std::make_unique<Ended>();
}

}  // namespace inferd
