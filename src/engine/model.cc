#include "engine/model.h"

#include <algorithm>
#include <exception>

#include "os/input_file.h"

namespace inferd::engine {
namespace {

struct Progress {
  std::function<void(unsigned)> report;
  unsigned last = 0;
};

bool on_progress(float done, void* data) {
  auto* progress = static_cast<Progress*>(data);
  const auto percent = static_cast<unsigned>(done * 100);
  if (percent > progress->last) progress->report(progress->last = percent);
  return true;
}

}  // namespace

Result<std::unique_ptr<Model>> Model::load(int fd, std::function<void(unsigned)> progress) {
  const auto file = os::input_stream(fd);
  if (!file) return std::unexpected(file.error());
  std::unique_ptr<Model> model(new Model);
  Progress state{std::move(progress)};
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  params.progress_callback = on_progress;
  params.progress_callback_user_data = &state;
  try {
    model->model_.reset(llama_model_load_from_file_ptr(file->get(), params));
  } catch (const std::exception& error) {
    return fail(Code::kIntegrity, std::string("the model cannot be loaded: ") + error.what());
  }
  if (!model->model_) return fail(Code::kIntegrity, "the model cannot be loaded: it is no GGUF file, is cut short, or is of an unknown kind");
  if (!llama_model_has_decoder(model->get())) return fail(Code::kIntegrity, "the model generates no text (it has no decoder)");
  model->vocab_ = llama_model_get_vocab(model->get());
  if (model->n_vocab() <= 0 || llama_vocab_type(model->vocab_) == LLAMA_VOCAB_TYPE_NONE) {
    return fail(Code::kIntegrity, "the model has no vocabulary");
  }
  char name[256];
  if (llama_model_meta_val_str(model->get(), "general.name", name, sizeof name) > 0) model->name_ = name;
  if (model->name_.empty()) model->name_ = "llamacpp";
  std::string piece;
  for (Token token = 0; token < model->n_vocab(); ++token) {
    const std::string_view text = llama_vocab_get_text(model->vocab_, token);
    model->longest_token_ = std::max(model->longest_token_, text.size());
    const auto attributes = llama_vocab_get_attr(model->vocab_, token);
    if ((attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0 && !text.empty()) model->control_texts_.emplace_back(text);
  }
  std::ranges::sort(model->control_texts_, [](const auto& a, const auto& b) { return a.size() != b.size() ? a.size() > b.size() : a < b; });
  return model;
}

std::vector<Token> Model::tokenize(std::string_view text, bool add_special, bool parse_special) const {
  std::vector<Token> tokens(text.size() / 3 + 16);
  const auto size = static_cast<int32_t>(text.size());
  int32_t n = llama_tokenize(vocab_, text.data(), size, tokens.data(), static_cast<int32_t>(tokens.size()), add_special, parse_special);
  if (n < 0) {
    tokens.resize(static_cast<size_t>(-static_cast<int64_t>(n)));
    n = llama_tokenize(vocab_, text.data(), size, tokens.data(), static_cast<int32_t>(tokens.size()), add_special, parse_special);
  }
  tokens.resize(static_cast<size_t>(std::max(0, n)));
  return tokens;
}

void Model::append_piece(Token token, std::string& out) const {
  const size_t before = out.size();
  out.resize(before + 64);
  int32_t n = llama_token_to_piece(vocab_, token, out.data() + before, 64, 0, true);
  if (n < 0) {
    out.resize(before + static_cast<size_t>(-n));
    n = llama_token_to_piece(vocab_, token, out.data() + before, -n, 0, true);
  }
  out.resize(before + static_cast<size_t>(std::max(0, n)));
}

}  // namespace inferd::engine
