#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/image/fields.h"

namespace faultline::image {

// The values of one field of a message, in the order of the wire. Which member counts is said by field->type.
struct FieldValues {
  const FieldInfo* field;
  std::vector<uint64_t> numbers;        // kSint32, kSint64 are unfolded; signed types are sign-extended to 64 bits
  std::vector<std::string_view> texts;  // kString, kBytes, kMessage: into the parsed bytes, or into `merged`
  std::unique_ptr<std::string> merged;  // a message that came in several parts
};

// Takes a message of the wire format apart into its known fields, by ascending number; what is unknown is passed over, as protobuf
// does: the last of several values of a field that is not repeated counts, messages are merged, and an enum value without a name is
// not there. `bytes` must outlive the result. Nested messages are not looked into.
// Errors: EBADMSG with the reason (without file and offset) if this is not a message, or a required field is missing.
Result<std::vector<FieldValues>> parse_wire(std::string_view bytes, const MessageInfo& message);

// The enum value's name; nullptr if it has none.
const EnumName* enum_name(const FieldInfo& field, int64_t number);

}  // namespace faultline::image
