#pragma once

#include "core/objects/file_kind.h"

// Settings of terminals: termios, window size, locks. Private to core/objects.
namespace faultline::objects {

Result<void> collect_settings(const FdView& fd, bool master, image::TtyInfoEntry& info);
// `slave`: a descriptor of the slave. Line settings and window size.
Result<void> apply_settings(int slave, const image::TtyInfoEntry& info, const std::string& path);
// Lock, exclusive and packet mode of a master.
Result<void> apply_modes(int master, const image::TtyInfoEntry& info, const std::string& path);

}  // namespace faultline::objects
