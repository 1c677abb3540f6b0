#include "engine/grammar_trigger.h"

#include <gtest/gtest.h>

namespace inferd::engine {
namespace {

// Tokens are numbered from 0. Returns what the trigger gave first, and with which token.
std::vector<Token> feed(GrammarTrigger& trigger, const std::vector<std::string>& pieces) {
  for (size_t i = 0; i < pieces.size(); ++i) {
    auto found = trigger.push(static_cast<Token>(i), pieces[i]);
    if (!found.empty()) return found;
  }
  return {};
}

Grammar::Triggers words(std::vector<std::string> list) { return {.words = std::move(list)}; }

TEST(GrammarTrigger, GivesTheTokensThatTheWordStandsIn) {
  GrammarTrigger trigger(words({"<call>"}));
  EXPECT_EQ(feed(trigger, {"text ", "more <", "ca", "ll", ">\n", "x"}), (std::vector<Token>{1, 2, 3, 4}));
}

TEST(GrammarTrigger, FindsAWordHoweverItIsCut) {
  const std::string text = "aa<call<call>";
  for (size_t cut = 1; cut < text.size(); ++cut) {
    GrammarTrigger trigger(words({"<call>"}));
    const auto found = feed(trigger, {std::string(1000, 'x'), text.substr(0, cut), text.substr(cut)});
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found.back(), 2);
    EXPECT_EQ(found.front(), cut <= 7 ? 2 : 1) << cut;
  }
}

TEST(GrammarTrigger, NothingTriggersInsideOfThinking) {
  Grammar::Triggers triggers = words({"<call>"});
  triggers.thinking_open = "<think>";
  triggers.thinking_close = {"</think>"};
  GrammarTrigger opened(triggers);
  EXPECT_EQ(feed(opened, {"<think>", "a <call> b", "</think>", "text", "<call>"}), (std::vector<Token>{4}));
  triggers.thinking = true;
  GrammarTrigger begun(triggers);
  EXPECT_EQ(feed(begun, {"a <call> b", "</think>", "<call>"}), (std::vector<Token>{2}));
}

TEST(GrammarTrigger, WhatClosesThinkingMayBeTheTrigger) {
  Grammar::Triggers triggers = words({"<call>"});
  triggers.thinking_open = "<think>";
  triggers.thinking_close = {"</think>", "<call>"};
  GrammarTrigger trigger(triggers);
  EXPECT_EQ(feed(trigger, {"<think>", "reason", "<call>"}), (std::vector<Token>{2}));
}

TEST(GrammarTrigger, AnAnchoredPatternIsForTheBeginningOfTheAnswer) {
  const Grammar::Triggers triggers{.words = {}, .patterns = {"^\\s+to$", "<start>(\\s+to)"}};
  GrammarTrigger begins(triggers);
  EXPECT_EQ(feed(begins, {" ", "to"}), (std::vector<Token>{0, 1}));
  GrammarTrigger later(triggers);
  EXPECT_TRUE(feed(later, {std::string(300, 'x'), " to"}).empty());
  GrammarTrigger grouped(triggers);
  EXPECT_EQ(feed(grouped, {"text<", "start>", " to"}), (std::vector<Token>{0, 1, 2}));
}

TEST(GrammarTrigger, WordsArePatternsWithoutMeaning) {
  EXPECT_EQ(GrammarTrigger::patterns_of({.words = {"[A](b)|.*"}, .patterns = {"^x$"}}),
            (std::vector<std::string>{R"(\[A\]\(b\)\|\.\*)", "^x$"}));
}

}  // namespace
}  // namespace inferd::engine
