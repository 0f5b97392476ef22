#pragma once

#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/image/json_writer.h"

namespace faultline::image {

// An image as JSON text, equal to what crit prints: the keys, their order, the form of each value, four spaces of indent, no newline
// at the end. Of payloads everything is shown, so that the text takes about 4/3 of the size of the file in memory.
// `fd` is a regular file, read from its beginning by pread, and stays the caller's; `name` is for messages.
// Safe from any thread.
// Errors: EBADMSG with file, offset and reason for everything that is malformed, and for raw images (pages, archives), which hold no
// messages; EFBIG if the text would be longer than 1 GiB; otherwise those of pread(2).
Result<std::string> decode_json(int fd, std::string name);

// One message in the wire format, as members of the object that is open. `message` is its name in the .proto files.
// Errors: EBADMSG if it is malformed; EFBIG as above.
Result<void> append_json(JsonWriter& out, std::string_view bytes, std::string_view message);

}  // namespace faultline::image
