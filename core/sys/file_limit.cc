#include "core/sys/file_limit.h"

#include <sys/resource.h>

#include "core/base/result.h"

namespace faultline::sys {

uint64_t file_limit() {
  rlimit limit;
  FL_CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  return limit.rlim_cur;
}

uint64_t raise_file_limit() {
  rlimit limit;
  FL_CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);  // forbidden by a sandbox at most
  }
  return file_limit();
}

const char* more_files_hint(int code) {
  if (code == EMFILE) return "; raise the limit of open files (LimitNOFILE= of the unit, ulimit -n)";
  return code == ENFILE ? "; raise the machine's limit of open files (sysctl fs.file-max)" : "";
}

}  // namespace faultline::sys
