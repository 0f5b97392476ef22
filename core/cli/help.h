#pragma once

#include <string>

#include "core/cli/options.h"

namespace faultline::cli {

// The text of `faultline --help`: what the tool is, its commands, where to go on.
std::string general_help();

// The text of `faultline VERB --help`: that command with its options only, and examples.
std::string verb_help(Verb verb);

// Text with line breaks between words such that no line is longer than `width`; lines after the first begin with `indent` blanks.
std::string wrapped(std::string_view text, size_t indent, size_t width);

}  // namespace faultline::cli
