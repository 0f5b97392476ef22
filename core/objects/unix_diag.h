#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/result.h"

namespace faultline::objects {

// What the kernel tells of one unix socket (sock_diag(7), unix_diag).
struct UnixDiag {
  uint32_t state = 0;
  uint32_t peer = 0;                // inode of the other end; 0: none, closed, or not accepted yet
  uint32_t shutdown = 0;            // bit 0 receiving, bit 1 sending
  uint32_t backlog = 0;             // limit of a listener
  std::string name;                 // raw, as bound
  std::vector<uint32_t> waiting;    // of a listener: inodes of the clients that it has not accepted yet
};

// All unix sockets of our network namespace, by inode. Errors: ENOENT if the kernel has no unix_diag.
Result<std::map<uint32_t, UnixDiag>> list_unix_sockets();

}  // namespace faultline::objects
