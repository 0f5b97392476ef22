#pragma once

#include <sys/types.h>

#include <string>

#include "core/base/result.h"

// The file of --pidfile: a decimal pid without line break, mode 0600, which must not exist before. An empty path means none is wanted.
namespace faultline::cli {

// Errors: EEXIST if the file is there already. To be asked before anything is begun.
Result<void> check_pid_file(const std::string& path);

// Makes the file. It appears with its content, so that who waits for it never reads an empty one. Errors: EEXIST; those of open(2).
Result<void> write_pid_file(const std::string& path, pid_t pid);

// The same for other numbers, the file of another option.
Result<void> check_number_file(const char* option, const std::string& path);
Result<void> write_number_file(const char* option, const std::string& path, int number);

}  // namespace faultline::cli
