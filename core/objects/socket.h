#pragma once

#include <sys/socket.h>

#include "core/objects/file_kind.h"

// What the kinds of sockets share. Private to core/objects.
namespace faultline::objects {

// The number that the dump gives the network namespace of the tree, which is ours (ids-<pid>.img, net_ns_id).
inline constexpr uint32_t kNetNs = 2;

// State numbers of sockets in images and in sock_diag.
inline constexpr uint32_t kSocketEstablished = 1, kSocketClose = 7, kSocketListen = 10;

// An option of type int; 0 where the socket does not know it.
int socket_option(int fd, int level, int option);
Result<void> set_socket_option(int fd, int level, int option, int value, const char* name);

// SOL_SOCKET. `unix_socket`: also what only these have.
Result<image::SkOptsEntry> collect_socket_options(const FdView& fd, bool unix_socket);
// What must be set before bind(2) and connect(2), and what comes after all data were put in.
Result<void> options_before_bind(int fd, const image::SkOptsEntry& options, bool unix_socket);
Result<void> options_at_the_end(int fd, const image::SkOptsEntry& options, bool unix_socket);

}  // namespace faultline::objects
