#pragma once

#include "core/objects/socket.h"
#include "core/objects/unix_diag.h"

// The two halves of unix sockets. Private to core/objects.
namespace faultline::objects {

// True for a name in the file system, false for none and for an abstract one.
bool has_path(const std::string& name);

Result<void> check_unix(const image::FileEntry& entry, const Rebuild& rebuild);
// Makes all unix sockets of the checkpoint, connected, bound and filled, into rebuild.sockets.
Result<void> make_unix_sockets(Rebuild& rebuild);

}  // namespace faultline::objects
