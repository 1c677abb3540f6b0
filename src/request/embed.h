// A request for embeddings and its outcome (spec 03). Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "request/flow.h"

namespace inferd {

enum class EmbedTask : uint8_t {
  kRetrievalQuery, kRetrievalDocument, kSimilarity, kClassification, kClustering, kQuestionAnswering, kFactVerification, kCodeRetrievalQuery,
  kUnknown,  // refused by validation
};

struct EmbedRequest {
  std::string id;  // the client's; may be empty, need not be unique
  std::vector<std::string> input;
  std::optional<uint32_t> dimensions;  // absent: the model's width
  std::optional<EmbedTask> task;
  bool local_only = false;  // never leaves this machine
  Flow flow{};              // who asks; set by the session, never read from the wire
};

struct Embeddings {
  uint32_t dimensions = 0;
  std::vector<float> values;  // [inputs][dimensions], in the order of the inputs
  std::string model;          // its name
  uint32_t input_tokens = 0;  // over all inputs
};

}  // namespace inferd
