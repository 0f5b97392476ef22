#include "core/sys/capabilities.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace faultline::sys {

Result<Capabilities> effective_capabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) < 0) return sys_error("cannot find out the capabilities of this process");
  return Capabilities{data[0].effective | static_cast<uint64_t>(data[1].effective) << 32};
}

}  // namespace faultline::sys
