#include <unistd.h>

#include <cstdio>
#include <span>

#include "core/cli/commands.h"

// Under whichever name it is started ("criu" too), the program behaves the same, but where the options say otherwise.
int main(int argc, char** argv) {
  const int code = faultline::cli::run(std::span<const char* const>(argv, static_cast<size_t>(argc)));
#ifdef __SANITIZE_ADDRESS__
  return code;  // leaks are looked for at the end
#else
  // The destructors of the libraries' static objects do nothing that the end of the process does not, but cost a tenth of its time:
  // each lies in a page of its own, which has to be mapped first.
  fflush(nullptr);
  _exit(code);
#endif
}
