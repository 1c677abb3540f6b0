#include "ctl/garbage.h"

#include "base/size_text.h"

namespace inferd::ctl {

Result<std::vector<store::Garbage>> find_garbage(const store::ModelStore& models, const ConfiguredModels& configured) {
  auto garbage = models.find_garbage(configured.blobs);
  if (!garbage) return garbage;
  std::erase_if(*garbage, [&](const store::Garbage& item) {
    if (item.kind != store::Garbage::Kind::kPartial) return false;
    const auto id = store::BlobId::parse(item.id);
    return id && configured.blobs.contains(*id) && !models.blob_bytes(*id);
  });
  return garbage;
}

std::string amount_text(const std::vector<store::Garbage>& garbage) {
  uint64_t bytes = 0;
  for (const store::Garbage& item : garbage) bytes += item.bytes;
  return std::to_string(garbage.size()) + (garbage.size() == 1 ? " file, " : " files, ") + size_text(bytes);
}

}  // namespace inferd::ctl
