#pragma once

#include <span>
#include <vector>

#include "pageserver/protocol.h"

namespace faultline::pageserver {

// Packs a run of pages. Gives the size in `to`, or 0 if it does not become smaller; `to` must have `contents.size()` bytes.
size_t pack(Encoding encoding, std::span<const std::byte> contents, std::span<std::byte> to);

// Unpacks a run into exactly to.size() bytes. Errors: EBADMSG.
Result<void> unpack(Encoding encoding, std::span<const std::byte> packed, std::span<std::byte> to);

}  // namespace faultline::pageserver
