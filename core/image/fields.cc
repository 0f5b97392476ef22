#include "core/image/fields.h"

#include <algorithm>

namespace faultline::image {

const FieldInfo* MessageInfo::field(uint32_t number) const {
  const auto at = std::lower_bound(fields.begin(), fields.end(), number, [](const FieldInfo& f, uint32_t n) { return f.number < n; });
  return at != fields.end() && at->number == number ? &*at : nullptr;
}

const MessageInfo* message_info(std::string_view name) {
  for (const MessageInfo* message : all_messages())
    if (message->name == name) return message;
  return nullptr;
}

}  // namespace faultline::image
