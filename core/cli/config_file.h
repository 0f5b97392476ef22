#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/cli/options.h"

namespace faultline::cli {

// One line of a configuration file as words of a command line: `ghost-limit 10M` becomes {"--ghost-limit", "10M"}.
// Empty if the line holds no option. Errors: EINVAL if the line is malformed; the sentence names neither file nor line.
Result<std::vector<std::string>> config_words(std::string_view line);

// Applies a whole file over `options`. False if there is no such file.
// Errors: EINVAL for a malformed line, with file and line; those of open(2) and read(2).
Result<bool> apply_config_file(const std::string& path, Options& options);

// Applies the files that `command_line` (parsed without them) and the environment ask for, in their order.
Result<void> apply_config_files(const Options& command_line, Options& options);

}  // namespace faultline::cli
