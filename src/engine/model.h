// One loaded model: weights, vocabulary, chat template. Loaded on the main thread; then read by the step and prepare threads
// (llama.cpp's tokenizer and vocabulary calls are thread-safe).
#pragma once

#include <llama.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/sequence_table.h"

namespace inferd::engine {

class Model {
 public:
  /// Loads a GGUF from a descriptor, which stays the caller's. `progress(percent)`.
  static Result<std::unique_ptr<Model>> load(int fd, std::function<void(unsigned)> progress);

  llama_model* get() const { return model_.get(); }
  const llama_vocab* vocab() const { return vocab_; }
  const std::string& name() const { return name_; }
  uint32_t n_ctx_train() const { return static_cast<uint32_t>(llama_model_n_ctx_train(model_.get())); }
  int32_t n_vocab() const { return llama_vocab_n_tokens(vocab_); }
  bool is_recurrent() const { return llama_model_is_recurrent(model_.get()) || llama_model_is_hybrid(model_.get()); }
  /// Width of the sliding window, 0 without one.
  uint32_t window() const { return static_cast<uint32_t>(std::max(0, llama_model_n_swa(model_.get()))); }

  std::vector<Token> tokenize(std::string_view text, bool add_special, bool parse_special) const;
  /// Appends a token's bytes: not always whole characters.
  void append_piece(Token token, std::string& out) const;
  /// Texts of the tokens that only the template may produce, longest first.
  const std::vector<std::string>& control_texts() const { return control_texts_; }
  /// Bytes of the longest token: a text of n bytes has at least n / this tokens.
  size_t longest_token() const { return longest_token_; }

 private:
  Model() = default;
  std::unique_ptr<llama_model, decltype(&llama_model_free)> model_{nullptr, &llama_model_free};
  const llama_vocab* vocab_ = nullptr;
  std::string name_;
  std::vector<std::string> control_texts_;
  size_t longest_token_ = 1;
};

}  // namespace inferd::engine
