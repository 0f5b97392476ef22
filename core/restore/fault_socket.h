#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace faultline::restore {

// A userfaultfd that a process has made for its own memory and sent (SpaceBuilder::hand_over_faults), with the token that tells whose it is.
using SentFault = std::pair<uint32_t, UniqueFd>;

// Takes one from the socket, without waiting; nullopt if none has come.
// Errors: EBADMSG for a message without a descriptor, those of recvmsg(2).
Result<std::optional<SentFault>> receive_userfaultfd(int socket);

}  // namespace faultline::restore
