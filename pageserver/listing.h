#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "pageserver/protocol.h"

// The images of a checkpoint as a page server knows them.
namespace faultline::pageserver {

// An image of a checkpoint, as the answer to FILES tells it (PROTOCOL.md, section 3).
struct Listed {
  std::string name;  // without '/'
  uint64_t size;     // bytes
};

// Lines of "size name", the inventory last, if there is one. Errors: EBADMSG for names that cannot be, or too many.
Result<std::vector<Listed>> parse_listing(const std::string& text);

// The name of the image that tells where the pages of an object are, and back. nullopt: the name is not that of such an image.
std::string pagemap_name(ObjectId object);
std::optional<ObjectId> object_of_pagemap(std::string_view name);

}  // namespace faultline::pageserver
