// From a conversation to the tokens of its prompt, through the model file's own chat template. Text of a caller never becomes a control
// token: where it holds the text of one, a random private mark stands in for it while the template is rendered, and the mark's
// original text is tokenised as plain text. Any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/model.h"
#include "request/generate.h"

struct common_chat_templates;

namespace inferd::engine {

class ChatPrompt {
 public:
  /// Errors: the file's template cannot be parsed.
  static Result<std::unique_ptr<ChatPrompt>> create(const Model& model);
  ~ChatPrompt();

  /// Errors are kInvalidRequest: the template refuses the conversation. The length of the text has been bounded by the caller.
  Result<std::vector<Token>> tokens(const std::vector<Message>& messages) const;

 private:
  explicit ChatPrompt(const Model& model);
  Result<std::string> render(const std::vector<Message>& messages) const;

  const Model& model_;
  struct Templates;
  std::unique_ptr<Templates> templates_;
  mutable std::mutex mutex_;  // llama-common does not say that rendering is thread-safe
};

/// The places in `text` where one of `controls` (longest first) stands: replaced by mark + its number; the originals are appended to
/// `replaced`. Pure.
std::string protect_controls(const std::string& text, const std::vector<std::string>& controls, const std::string& mark,
                             std::vector<std::string>& replaced);

}  // namespace inferd::engine
