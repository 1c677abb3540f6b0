#include "engine/chat_prompt.h"

#include <utility>

namespace inferd::engine {

Result<std::unique_ptr<ChatPrompt>> ChatPrompt::create(const Model& model, Media media) {
  std::unique_ptr<ChatPrompt> prompt(new ChatPrompt(model, std::move(media)));
  auto chat_template = ChatTemplate::create(model.get());
  if (!chat_template) return std::unexpected(std::move(chat_template.error()));
  prompt->template_ = std::move(*chat_template);
  return prompt;
}

Result<ChatPrompt::Rendered> ChatPrompt::render(const GenerateRequest& request) const {
  ControlMarks marks(model_.control_texts());
  auto rendered = template_->render(request, media_ != nullptr, marks);
  if (!rendered) return std::unexpected(std::move(rendered.error()));
  Rendered out{.tokens = {}, .spans = {}, .grammar = std::move(rendered->grammar), .answer = std::move(rendered->answer),
               .call_required = rendered->call_required};
  if (auto done = tokenize(*rendered, marks, out); !done) return std::unexpected(std::move(done.error()));
  out.grammar.begun_tokens = tokens_of_begun(out);
  return out;
}

// From the end of the prompt, until they cover what it holds of the grammar.
std::vector<Token> ChatPrompt::tokens_of_begun(const Rendered& rendered) const {
  const std::string& begun = rendered.grammar.begun;
  std::string text;
  size_t first = rendered.tokens.size();
  while (text.size() < begun.size() && first > 0 && rendered.tokens[first - 1] >= 0) {
    std::string piece;
    model_.append_piece(rendered.tokens[--first], piece);
    text.insert(0, piece);
  }
  if (!text.ends_with(begun)) return model_.tokenize(begun, false, true);  // the grammar wants to see what the prompt has not
  return {rendered.tokens.begin() + static_cast<ptrdiff_t>(first), rendered.tokens.end()};
}

Status ChatPrompt::tokenize(const ChatTemplate::Rendered& rendered, const ControlMarks& marks, Rendered& out) const {
  // A template writes its own beginning-of-sequence token or leaves it to the tokenizer: never both.
  bool add_special = !begins_with_bos(rendered.prompt);
  const auto add = [&](std::string_view text, bool parse_special) {
    const auto part = model_.tokenize(text, std::exchange(add_special, false), parse_special);
    out.tokens.insert(out.tokens.end(), part.begin(), part.end());
  };
  for (const ControlMarks::Part& part : marks.split(rendered.prompt)) {
    if (!part.number) {
      add(part.text, part.from_template);
      continue;
    }
    if (add_special) add({}, true);
    if (*part.number >= rendered.media.size()) return fail(Code::kInternal, "attachment: a mark without an attachment");
    const auto media = media_(*rendered.media[*part.number]);
    if (!media) return std::unexpected(media.error());
    append(*media, out.tokens, out.spans);
  }
  if (add_special) add({}, true);
  return {};
}

bool ChatPrompt::begins_with_bos(std::string_view prompt) const {
  const Token bos = llama_vocab_bos(model_.vocab());
  const char* const text = bos == LLAMA_TOKEN_NULL ? nullptr : llama_vocab_get_text(model_.vocab(), bos);
  return text != nullptr && *text != '\0' && prompt.starts_with(text);
}

}  // namespace inferd::engine
