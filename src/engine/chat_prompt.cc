#include "engine/chat_prompt.h"

#include <chat.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>

namespace inferd::engine {
namespace {

// Letters only around the number, so that no template filter (trim, escape, upper) takes it apart.
constexpr char kMarkEnd = 'Z';

std::string random_mark() {
  unsigned char bytes[12] = {};
  [[maybe_unused]] const ssize_t n = ::getrandom(bytes, sizeof bytes, 0);
  std::string mark = "inferdmark";
  for (const unsigned char byte : bytes) {
    mark += static_cast<char>('a' + (byte >> 4));
    mark += static_cast<char>('a' + (byte & 15));
  }
  return mark;
}

}  // namespace

std::string protect_controls(const std::string& text, const std::vector<std::string>& controls, const std::string& mark,
                             std::vector<std::string>& replaced) {
  std::array<bool, 256> begins{};
  for (const std::string& control : controls) begins[static_cast<unsigned char>(control.front())] = true;
  std::string out;
  size_t copied = 0;
  for (size_t at = 0; at < text.size();) {
    if (!begins[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    const auto found = std::ranges::find_if(controls, [&](const std::string& control) { return text.compare(at, control.size(), control) == 0; });
    if (found == controls.end()) {
      ++at;
      continue;
    }
    out.append(text, copied, at - copied);
    out += mark + std::to_string(replaced.size()) + kMarkEnd;
    replaced.push_back(*found);
    at += found->size();
    copied = at;
  }
  return out.append(text, copied);
}

struct ChatPrompt::Templates {
  common_chat_templates_ptr templates;
};

ChatPrompt::ChatPrompt(const Model& model) : model_(model) {}
ChatPrompt::~ChatPrompt() = default;

Result<std::unique_ptr<ChatPrompt>> ChatPrompt::create(const Model& model) {
  std::unique_ptr<ChatPrompt> prompt(new ChatPrompt(model));
  try {
    prompt->templates_ = std::make_unique<Templates>(Templates{common_chat_templates_init(model.get(), "")});
  } catch (const std::exception& error) {
    return fail(Code::kIntegrity, std::string("the model's chat template cannot be used: ") + error.what());
  }
  return prompt;
}

Result<std::string> ChatPrompt::render(const std::vector<Message>& messages) const {
  common_chat_templates_inputs inputs;
  for (const Message& message : messages) {
    common_chat_msg& out = inputs.messages.emplace_back();
    out.role = message.role == Role::kSystem ? "system" : message.role == Role::kUser ? "user" : "assistant";
    out.content = message.content;
  }
  inputs.add_generation_prompt = true;
  inputs.enable_thinking = false;    // v1 renders with thinking off (spec README 3)
  inputs.force_pure_content = true;  // no tools here: the template is not searched for its tool-call syntax
  try {
    const std::lock_guard lock(mutex_);
    return common_chat_templates_apply(templates_->templates.get(), inputs).prompt;
  } catch (const std::exception& error) {
    return fail(Code::kInvalidRequest, std::string("the model's chat template refuses this conversation: ") + error.what());
  }
}

Result<std::vector<Token>> ChatPrompt::tokens(const std::vector<Message>& messages) const {
  const std::string mark = random_mark();
  std::vector<std::string> replaced;
  std::vector<Message> safe;
  for (const Message& message : messages) {
    safe.push_back({message.role, protect_controls(message.content, model_.control_texts(), mark, replaced)});
  }
  auto rendered = render(safe);
  if (!rendered) return std::unexpected(rendered.error());
  // A template writes its own beginning-of-sequence token or leaves it to the tokenizer: never both.
  const bool add_special = [&] {
    const Token bos = llama_vocab_bos(model_.vocab());
    if (bos == LLAMA_TOKEN_NULL) return true;
    const char* text = llama_vocab_get_text(model_.vocab(), bos);
    return text == nullptr || *text == '\0' || !rendered->starts_with(text);
  }();
  std::vector<Token> out;
  std::string_view rest = *rendered;
  bool first = true;
  const auto add = [&](std::string_view text, bool parse_special) {
    if (text.empty() && !first) return;
    const auto part = model_.tokenize(text, first && add_special, parse_special);
    out.insert(out.end(), part.begin(), part.end());
    first = false;
  };
  for (size_t at; (at = rest.find(mark)) != std::string_view::npos;) {
    add(rest.substr(0, at), true);
    rest.remove_prefix(at + mark.size());
    size_t number = 0, digits = 0;
    while (digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9') number = number * 10 + static_cast<size_t>(rest[digits++] - '0');
    if (number < replaced.size()) add(replaced[number], false);
    rest.remove_prefix(std::min(rest.size(), digits + 1));
  }
  add(rest, true);
  return out;
}

}  // namespace inferd::engine
