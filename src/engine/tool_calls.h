// What a call that a model made needs before it may leave: an id of its own and arguments that are one JSON object. Step thread.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "request/generate.h"

namespace inferd::engine {

/// Ids `tc-` and eight random letters or digits, unique over a conversation: none that its history holds, none twice.
class CallIds {
 public:
  explicit CallIds(const GenerateRequest& request);
  std::string next();

 private:
  std::set<std::string> taken_;
};

/// Deeper nested arguments are refused: what reads them recurses.
inline constexpr size_t kMaxCallNesting = 128;
bool nests_too_deep(std::string_view json);

/// The arguments compact with sorted keys. Error: kToolCallMalformed, `text` is no JSON object.
Result<std::string> call_arguments(std::string_view text);

std::unexpected<Error> malformed_call(const std::string& why);

}  // namespace inferd::engine
