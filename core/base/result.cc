#include "core/base/result.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace faultline {

std::string errno_text(int code) {
  char buffer[128];
  return strerror_r(code, buffer, sizeof buffer);
}

void check_failed(const char* condition, const char* file, int line) {
  fprintf(stderr, "faultline: internal error: %s does not hold (%s:%d)\n", condition, file, line);
  abort();
}

}  // namespace faultline
