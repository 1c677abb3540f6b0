// A model's chat template: from a request to the text of its prompt, what constrains the answer, and what reads it. Templates, their tool calls
// and their thinking are llama.cpp's chat library's; a template that has no form for tools, or none that holds, gets ours (own_tool_form.h).
// Any thread.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/answer_stream.h"
#include "engine/callable_tools.h"
#include "engine/control_marks.h"
#include "engine/conversation.h"
#include "engine/grammar.h"
#include "request/generate.h"

struct common_chat_msg;
struct common_chat_params;
struct common_chat_templates_inputs;
struct llama_model;

namespace inferd::engine {

class ChatTemplate {
 public:
  /// Errors: kIntegrity, the file's template cannot be parsed.
  static Result<std::unique_ptr<ChatTemplate>> create(const llama_model* model);
  /// The same from the text of a template, for tests.
  static Result<std::unique_ptr<ChatTemplate>> from_source(const std::string& source, const std::string& bos, const std::string& eos);
  ~ChatTemplate();

  bool supports_thinking() const { return supports_thinking_; }
  /// The template's own; otherwise tools have ours.
  bool has_tool_form() const { return has_tool_form_; }

  struct Rendered {
    std::string prompt;                        // with marks
    std::vector<const Attachment*> media = {}; // mark(i) in the prompt stands for media[i]; the request's
    Grammar grammar = {};                      // without begun_tokens
    std::unique_ptr<AnswerStream> answer = {};
    bool call_required = false;
  };
  /// Errors: kInvalidRequest, the template refuses the conversation, or a tool or schema cannot be used; kAttachmentUnsupported.
  /// `takes_media`: attachments become marks.
  Result<Rendered> render(const GenerateRequest& request, bool takes_media, ControlMarks& marks) const;

  /// Share of an answer's time that its reading may take (ChatAnswer); tests read without a limit.
  void set_parse_share(double share) { parse_share_ = share; }

 private:
  struct Templates;
  explicit ChatTemplate(std::unique_ptr<Templates> templates);
  static Result<std::unique_ptr<ChatTemplate>> from_templates(std::unique_ptr<Templates> templates);

  void learn();
  bool learn_tool_form();
  void learn_answer_form();
  void learn_answer_opener();

  Result<common_chat_params> apply(const common_chat_templates_inputs& inputs) const;
  Result<common_chat_params> apply_plain(const std::vector<Turn>& turns) const;
  common_chat_templates_inputs inputs_of(const std::vector<Turn>& turns, bool thinking) const;
  std::vector<common_chat_msg> messages_of(const std::vector<Turn>& turns) const;

  Result<Rendered> render_plain(const GenerateRequest& request, const Conversation& conversation, Grammar grammar) const;
  Result<Rendered> render_text(const GenerateRequest& request, const std::vector<Turn>& turns) const;
  Result<std::optional<Rendered>> render_native(const GenerateRequest& request, const Conversation& conversation,
                                                const std::vector<CallableTool>& tools, ControlMarks& marks) const;
  Result<Rendered> render_own(const GenerateRequest& request, const Conversation& conversation, const std::vector<CallableTool>& tools,
                              ControlMarks& marks) const;
  Result<std::unique_ptr<AnswerStream>> reading(common_chat_params& params, const GenerateRequest& request, bool calls) const;
  std::string opened(const common_chat_params& params) const;

  std::unique_ptr<Templates> templates_;
  mutable std::mutex mutex_;  // llama-common does not say that rendering is thread-safe
  double parse_share_ = 0.03;
  // Learnt once:
  bool supports_thinking_ = false;
  bool has_tool_form_ = false;
  bool parallel_calls_ = false;
  bool written_by_argument_ = false;       // its calls; otherwise arguments are one JSON object
  bool reads_text_ = false;                // answers have to be read even without tools and thinking
  std::vector<std::string> call_openers_;  // texts with which calls begin
  std::string answer_opener_;              // between the end of the prompt and an answer's own text, without thinking
  std::string usual_generation_prompt_;    // what a prompt ends with after a question
  std::string thinking_open_, thinking_close_;
};

}  // namespace inferd::engine
