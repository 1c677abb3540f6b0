// What a GBNF grammar may cost, checked before llama.cpp's recursive parser sees the text (spec 08 §3.4, and what was found to take it
// gigabytes or minutes). Pure.
#pragma once

#include <string>

#include "base/error.h"

namespace inferd::engine {

/// kInvalidRequest that says which limit and both numbers: bytes, alternatives, nested groups, repetitions (counted `{m,n}`), optional
/// items in a row. Says nothing about syntax.
Status check_grammar_limits(const std::string& grammar);

}  // namespace inferd::engine
