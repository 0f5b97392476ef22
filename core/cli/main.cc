#include <span>

#include "core/cli/commands.h"

// Under whichever name it is started ("criu" too), the program behaves the same.
int main(int argc, char** argv) { return faultline::cli::run(std::span<const char* const>(argv, static_cast<size_t>(argc))); }
