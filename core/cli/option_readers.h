#pragma once

#include <optional>
#include <string_view>

#include "core/base/result.h"
#include "core/cli/options.h"

// Options whose text is not simply a number, a size, a word or a list. `text` is nullopt if none was given.
// Errors: EINVAL; the sentence does not name the option, the caller adds it.
namespace faultline::cli {

Result<void> read_verbosity(Options& options, std::optional<std::string_view> text);
Result<void> read_ext_unix_sk(Options& options, std::optional<std::string_view> text);
Result<void> read_manage_cgroups(Options& options, std::optional<std::string_view> text);
Result<void> read_cpu_cap(Options& options, std::optional<std::string_view> text);
// For options that CRIU had once: always an error.
Result<void> read_removed(Options& options, std::optional<std::string_view> text);

// A decimal number that fits an int, of at least `minimum`.
Result<int> read_number(std::string_view text, int minimum);
// True if `text` is one of the words of "a|b|c".
bool one_of(std::string_view choices, std::string_view text);

}  // namespace faultline::cli
