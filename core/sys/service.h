#pragma once

#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"

// What a service manager (systemd) and a service tell each other, without its library: sd_listen_fds(3), sd_notify(3).
namespace faultline::sys {

// The sockets that the service manager has opened for this process; none if it was not started by one. They are close-on-exec from now on.
// Call once, before forking: the environment variables are removed.
std::vector<UniqueFd> inherited_sockets();

// Sends a message such as "READY=1" to the service manager; nothing happens without one.
void notify_service_manager(std::string_view message);

}  // namespace faultline::sys
