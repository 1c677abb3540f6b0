#include "engine/chat_prompt.h"

#include <map>
#include <utility>

namespace inferd::engine {

Result<std::unique_ptr<ChatPrompt>> ChatPrompt::create(const Model& model, Media media) {
  std::unique_ptr<ChatPrompt> prompt(new ChatPrompt(model, std::move(media)));
  auto chat_template = ChatTemplate::create(model.get());
  if (!chat_template) return std::unexpected(std::move(chat_template.error()));
  prompt->template_ = std::move(*chat_template);
  return prompt;
}

Result<ChatPrompt::Rendered> ChatPrompt::render(const GenerateRequest& request, size_t n_ctx) const {
  ControlMarks marks(model_.control_texts());
  auto rendered = template_->render(request, media_ != nullptr, marks);
  if (!rendered) return std::unexpected(std::move(rendered.error()));
  Rendered out{.tokens = {}, .spans = {}, .grammar = std::move(rendered->grammar), .answer = std::move(rendered->answer),
               .call_required = rendered->call_required};
  if (auto done = tokenize(*rendered, marks, n_ctx, out); !done) return std::unexpected(std::move(done.error()));
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

Status ChatPrompt::tokenize(const ChatTemplate::Rendered& rendered, const ControlMarks& marks, size_t n_ctx, Rendered& out) const {
  const auto fits = [&](size_t at_least) -> Status {
    if (at_least < n_ctx) return {};
    return fail(Code::kInvalidRequest, "the prompt has at least " + std::to_string(at_least) + " tokens, the context holds " + std::to_string(n_ctx));
  };
  if (auto room = fits(rendered.prompt.size() / model_.longest_token()); !room) return room;
  std::map<const Attachment*, MediaTokens> prepared;  // each once, however often it is named
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
    const Attachment* const attachment = rendered.media[*part.number];
    auto at = prepared.find(attachment);
    if (at == prepared.end()) {
      auto media = media_(*attachment);
      if (!media) return std::unexpected(media.error());
      at = prepared.emplace(attachment, std::move(*media)).first;
    }
    if (auto room = fits(out.tokens.size() + at->second.tokens.size()); !room) return room;
    append(at->second, out.tokens, out.spans);
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
