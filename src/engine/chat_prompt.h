// From a request to the tokens of its prompt, through the model file's own chat template, with what constrains and what reads the answer. Text
// of a caller never becomes a control token: where it holds the text of one, a private mark stands in for it while the template is rendered,
// and the original is tokenised as plain text. Any thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/answer_stream.h"
#include "engine/chat_template.h"
#include "engine/grammar.h"
#include "engine/media_items.h"
#include "engine/model.h"
#include "request/generate.h"

namespace inferd::engine {

class ChatPrompt {
 public:
  /// What an attachment becomes in the prompt; errors name it. Called on prepare threads.
  using Media = std::function<Result<MediaTokens>(const Attachment&)>;

  /// Without `media` every attachment is kAttachmentUnsupported. Errors: the file's template cannot be parsed.
  static Result<std::unique_ptr<ChatPrompt>> create(const Model& model, Media media = nullptr);

  struct Rendered {
    std::vector<Token> tokens;
    std::vector<PromptSpan> spans;         // media among the tokens
    Grammar grammar;                       // for the Sampler
    std::unique_ptr<AnswerStream> answer;  // never null
    bool call_required = false;            // an answer without a tool call has not done what tool_choice asked for
  };
  /// Errors: kInvalidRequest, the template refuses the conversation, a tool or a schema cannot be used; kAttachmentUnsupported; those of Media.
  /// A prompt of `n_ctx` tokens or more is refused, as soon as that is certain.
  Result<Rendered> render(const GenerateRequest& request, size_t n_ctx) const;

  /// Every chat model takes tools: a template without a form for them gets ours.
  static constexpr bool supports_tools() { return true; }
  bool supports_thinking() const { return template_->supports_thinking(); }

 private:
  ChatPrompt(const Model& model, Media media) : model_(model), media_(std::move(media)) {}
  Status tokenize(const ChatTemplate::Rendered& rendered, const ControlMarks& marks, size_t n_ctx, Rendered& out) const;
  std::vector<Token> tokens_of_begun(const Rendered& rendered) const;
  bool begins_with_bos(std::string_view prompt) const;

  const Model& model_;
  const Media media_;
  std::unique_ptr<ChatTemplate> template_;
};

}  // namespace inferd::engine
